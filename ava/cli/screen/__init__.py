"""What commands print: records as tables or JSON, lists and jobs that are watched."""
