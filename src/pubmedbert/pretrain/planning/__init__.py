"""What a run takes in memory, time and money, before anything is rented."""
