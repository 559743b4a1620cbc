"""Looking at a flow: PrintData, TestDataSpeed, explain, show."""
