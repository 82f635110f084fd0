"""Which texts are hidden wherever something is kept."""

from __future__ import annotations

from enos_crdb.masking import masked, to_mask

KEY = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nBKcwggSjAgEAAoIBAQC7\n-----END PRIVATE KEY-----\n"


def test_a_key_is_hidden_line_by_line_and_short_words_are_not() -> None:
    found = to_mask(["long-password", "admin", KEY])
    assert found[0] == KEY, "what contains another comes first"
    assert "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC" in found
    assert "admin" not in found
    assert not any("PRIVATE" in text for text in found[1:]), "that there is a key may be seen"
    line = b"  MIIEvQIBADANBgkqhkiG9w0BAQEFAASC indented\nadmin\n"
    assert masked(line, found) == b"  ******** indented\nadmin\n"
