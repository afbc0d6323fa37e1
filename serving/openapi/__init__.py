"""OpenAPI: the document that says what this server answers, made from what it serves."""
