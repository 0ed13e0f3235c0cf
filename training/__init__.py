"""The generator. Scripts: dataset_balance.py."""
