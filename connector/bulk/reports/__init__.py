"""What is handed on about a job: workbooks and pages of what came of it, and of what is planned."""
