SELECT name FROM experiments WHERE lifecycle_stage = 'active' ORDER BY name
