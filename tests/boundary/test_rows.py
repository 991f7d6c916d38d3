"""Where each row of the list of escapes is tried: by an attack with its number, or by the tests that are named here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

_HERE = Path(__file__).parent
_LIST = {
    "A": "1 2 4 5 7 8 10 11 13 14 16 17 19", "B": "20 22 23 25 26 28 29 31 32 34 35 37 38 40 41 43 44", "C": "46 47 49 50 52 53",
    "D": "55 56 58 59 61 62 64 65 67 68 70", "E": "71 73 74 76 77", "F": "79 80 82 83 85 86 88 89 91 92 94 95 97 98",
    "G": "100 101 103 104 106", "H": "107 109 110 112 113 115 116 118",
}  # fmt: skip
_TESTS = {
    "A5": "aftermath: its_folder_goes_and_nothing_else; audit: a_link_that_a_companion_leaves_opens_nothing_at_the_next_start",
    "A8": "aftermath: its_folder_goes_and_nothing_else; channel: a_syntax_error_neither_fills_memory_nor_opens_files",
    "B34": "processes: no_thread_is_older_than_the_wall",
    "B44": "processes: death_is_reported_and_nobody_else_is_harmed",
    "C53": "network: it_can_serve_itself_on_its_loopback",
    "D55": "resources: threads_are_refused_at_the_limit too_many_threads_are_the_end",
    "D56": "resources: a_bomb_of_forks_is_ended; processes: nothing_outlives_it",
    "D58": "resources: a_heap_that_is_too_large_is_a_memory_error",
    "D59": "resources: memory_counts_for_all_its_processes nobody_ever_sees_more_than_a_little_above_the_limit",
    "D61": "resources: there_is_no_memory_beside_the_limits",
    "D62": "resources: the_scratch_space_is_limited deleted_files_count_as_well",
    "D64": "resources: a_file_cannot_grow_beyond_the_disk",
    "D65": "resources: open_files_are_limited",
    "D67": "resources: a_call_that_never_ends_is_ended",
    "D68": "resources: it_is_the_first_to_go_and_the_last_to_be_served",
    "D70": "resources: it_is_the_first_to_go_and_the_last_to_be_served",
    "E76": "inheritance: a_sibling_is_out_of_reach",
    "E77": "inheritance: the_host_outlives_what_is_done_to_the_descriptors",
    "F79": "channel: a_pickle_that_comes_all_the_same_is_not_read",
    "F80": "channel: a_pickle_that_comes_all_the_same_is_not_read",
    "F82": "channel: odd_bytes_end_the_companion a_question_of_ours_that_is_not_answered_ends_the_companion",
    "F83": "../hostile: a_frame_that_no_companion_sends_ends_it_and_nothing_else",
    "F85": "channel: nothing_is_unpacked",
    "F86": "channel: odd_bytes_end_the_companion a_number_of_five_million_digits_is_a_number headers_that_lie_end_the_companion_or_are_refused",
    "F88": "../hostile: a_frame_that_no_companion_sends_ends_it_and_nothing_else; channel: objects_lent_without_end_end_the_companion",
    "F89": "channel: callbacks_inside_one_another_end_somewhere calls_back_while_it_is_stopped_are_not_waited_for",
    "F91": "channel: descriptors_do_not_come_in memfds_that_are_cut_kept_open_or_empty_are_refused",
    "F92": "../hostile: a_truncated_memfd_is_refused",
    "F94": "channel: a_body_of_holes_is_not_fetched_into_all_of_our_memory",
    "F95": "channel: headers_that_lie_end_the_companion_or_are_refused",
    "F97": "channel: a_companion_that_stops_reading_is_ended",
    "F98": "../hostile: closing_what_it_has_without_dying_makes_the_host_neither_hang_nor_spin",
    "G100": "objects: objects_that_fight_back_hurt_nobody; channel: the_text_of_an_exception_is_bounded_and_moves_no_cursor",
    "G101": "objects: objects_that_fight_back_hurt_nobody; channel: a_class_that_passes_for_an_array_gives_no_pointer_away",
    "G103": "objects: objects_that_fight_back_hurt_nobody",
    "G104": "objects: objects_that_fight_back_hurt_nobody",
    "G106": "objects: objects_that_fight_back_hurt_nobody",
    "H107": "output_browser: no_attack_does_any_harm_through_the_filter_and_most_do_without",
    "H109": "../filtering: other_types_are_dropped markdown_and_latex_are_shown_as_their_source",
    "H110": "../pictures: what_is_no_png_is_refused an_svg_that_is_none_or_multiplies_is_refused",
    "H112": "../filtering: other_types_are_dropped other_messages_are_dropped",
    "H113": "../filtering: only_keys_of_the_protocol_pass",
    "H115": "channel: it_asks_the_user_for_nothing; ../filtering: other_messages_are_dropped",
    "H116": "../escapes: of_escape_sequences_only_colours_stay",
    "H118": "../escapes: no_forbidden_character_passes_and_every_line_is_framed",
}  # fmt: skip


@pytest.mark.parametrize("row", [section + number for section in _LIST for number in _LIST[section].split()])
def test_each_row_is_tried(row: str) -> None:
    if row not in _TESTS:
        attacks = [path.read_text() for path in _HERE.glob("test_*.py")]
        assert any(re.search(rf'Attack\(f?"{row}\b|\("{row}", _', text) for text in attacks)
        return
    for part in _TESTS[row].split("; "):
        module, _, names = part.partition(": ")
        folder, _, stem = module.rpartition("/")
        text = (_HERE / folder / f"test_{stem}.py").read_text()
        assert all(f"def test_{name}(" in text for name in names.split()), part
