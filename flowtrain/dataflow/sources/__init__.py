"""Where datapoints begin: lists, arrays, files, pictures, generators and queues."""
