"""From scenes to arrays: who reads a file, how its blocks are found and proven, how they come to the plan's grid."""
