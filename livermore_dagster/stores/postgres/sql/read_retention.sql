SELECT timeframe, keep_days FROM retention
