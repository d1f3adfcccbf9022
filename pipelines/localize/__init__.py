"""From a picture to an anomaly map: the map, the Localizer protocol, and one module per expert."""
