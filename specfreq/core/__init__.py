"""What every wing stands on: errors, descriptions, places, files, randomness, devices, images. No data sets,
no networks.
"""
