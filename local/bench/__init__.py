"""`./doit bench`: what the product costs, as ratios within one run, since machines differ and drift."""
