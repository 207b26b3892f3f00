#!/bin/bash
# Stands in for the simulator: what the file beside the link to this one says is done to its arguments before it starts.
source "${0%/*}/sabotage"
