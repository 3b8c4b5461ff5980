"""What a reader gets: a recipe's page, a run's results, several models beside the paper, runs beside each other."""
