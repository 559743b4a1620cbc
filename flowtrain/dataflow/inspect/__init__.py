"""Looking into a flow: PrintData, TestDataSpeed, explain, show."""
