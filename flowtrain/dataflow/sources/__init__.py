"""Sources of datapoints: lists, arrays, tables, files, pictures, generators, queues."""
