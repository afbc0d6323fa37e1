"""Plain `nn.Module`s: an image model takes uint8 pixels, a text model token ids."""
