"""What commands are given: arguments, the input of a job, the installation to call."""
