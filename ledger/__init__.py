"""What neighbours owe each other: tariff, meter, vouchers, channels, store and settlement.

Nothing lives here yet. Until it does, every tariff is 0 and no money moves.
"""
