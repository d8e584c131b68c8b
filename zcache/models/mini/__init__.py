"""The embedded models' small worlds: captioned scenes of emoji, clips of moving shapes, classes of emoji,
and who judges pictures of them by their pixels."""
