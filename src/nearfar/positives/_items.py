"""Items of a batch: a side and its content, so that a text that asks and answers is two things."""

from nearfar.column import content_id

QUERY_SIDE, KEY_SIDE = content_id("query side"), content_id("key side")  # a row's item: its content's id ^ its side
