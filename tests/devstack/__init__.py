"""Tests of the DevStack plugin, on a double of DevStack that records what the plugin does."""
