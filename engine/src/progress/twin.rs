//! `Progress` against a model of a follower and of its stream, under every pattern of loss that proptest finds.
