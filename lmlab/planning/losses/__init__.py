"""What loss to expect: earlier runs, ladders, laws."""
