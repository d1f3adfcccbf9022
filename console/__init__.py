"""What people are shown: tables, exports and pages over what storage keeps."""
