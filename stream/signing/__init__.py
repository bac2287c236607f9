"""Who may do what on the broker, and which baselines are believed.

``roles``, ``acls``
    the rights of each role on Kafka, no more than it needs;
``signing``
    signatures of baselines; needs the extra ``sign``;
``trust``
    what a worker asks of a baseline before it reads it;
``connection``
    why a broker does not let one in, in words.
"""
