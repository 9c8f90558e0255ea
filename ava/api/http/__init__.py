"""HTTP in, HTTP out: requests are parsed and authorised, answers and errors get their shape."""
