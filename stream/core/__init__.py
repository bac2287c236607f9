"""The stream's pure part: from decoded messages to alerts, flagged requests and hourly rates.

No Kafka, no clock, no logging: time comes with the rows.
"""
