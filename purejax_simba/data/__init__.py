"""What agents learn from: replay, datasets on the device, and normalisation."""
