"""The promises of docs/server-behavior.md, and the tests that hold the proxy to each.

Knows ids and where tests stand; `tests/test_requirements.py` keeps both sides equal. Where a
promise is wide, the tests named are those that fail first when it is broken, not all that touch it.
"""

from collections.abc import Mapping
from typing import Final

PROMISES: Final[Mapping[str, tuple[str, ...]]] = {
    # Bytes
    "B1": (
        "proxy/test_targets.py::test_any_target_arrives_as_it_was_and_leads_nowhere_else",
        "proxy/test_admission.py::test_origin_form_is_kept_byte_for_byte",
    ),
    "B2": (
        "properties/test_transparency.py::test_what_passes_arrives_byte_for_byte",
        "proxy/test_headers.py::test_fields_that_may_pass_pass_byte_for_byte",
    ),
    "B3": (
        "properties/test_transparency.py::test_what_passes_arrives_byte_for_byte",
        "proxy/test_streams.py::test_large_body_passes_a_slow_reader_in_flat_memory",
    ),
    "B4": (
        "proxy/test_targets.py::test_a_request_without_a_body_gains_none",
        "proxy/test_exchange.py::test_answer_without_a_body_keeps_both_connections",
        "proxy/test_known_heads.py::test_answers_to_head_have_no_body_whatever_was_known",
    ),
    "B5": (
        "proxy/test_exchange.py::test_expectation_is_forwarded_and_its_answer_relayed_before_the_body",
        "proxy/test_exchange.py::test_interim_heads_split_at_every_byte_come_before_the_final_one",
        "proxy/test_faults.py::test_interim_answer_does_not_hide_a_failure",
        "proxy/test_exchange.py::test_http_1_0_client_gets_no_interim_answer",
        "proxy/test_faults.py::test_answer_that_is_no_http_is_502",
    ),
    "B6": (
        "properties/test_transparency.py::test_what_passes_arrives_byte_for_byte",
        "proxy/test_headers.py::test_hop_by_hop_fields_are_removed",
        "proxy/test_exchange.py::test_chunks_are_framed_anew_with_their_trailers_both_ways",
        "proxy/test_chunks.py::test_trailers_that_frame_route_or_authenticate_are_dropped",
        "proxy/test_headers.py::test_the_end_of_the_connection_is_announced",
        "proxy/test_headers.py::test_both_sides_are_spoken_to_in_http_1_1",
        "proxy/test_headers.py::test_configured_fields_replace_those_that_cgi_takes_for_them",
        "proxy/test_server.py::test_configured_headers_cannot_be_replaced_by_trailers",
        "proxy/test_admission.py::test_absolute_form_becomes_origin_form",
        "proxy/test_bad_input.py::test_a_missing_host_is_that_of_the_target_or_of_the_upstream",
        "proxy/test_chunks.py::test_trailers_that_a_server_could_take_for_judged_fields_are_dropped",
    ),
    # Host
    "H1": ("proxy/test_server.py::test_host_is_preserved_towards_plain_http",),
    "H2": (
        "proxy/test_hosts.py::test_a_host_that_one_way_in_has_is_none_of_another",
        "proxy/test_hosts.py::test_only_known_hosts_are_served",
        "proxy/test_tls.py::test_foreign_hosts_are_refused_before_the_upstream_hears_of_them",
        "proxy/test_server.py::test_host_is_rewritten_on_request_and_foreign_ones_are_refused",
        "proxy/test_admission.py::test_known_hosts_are_served",
        "proxy/test_admission.py::test_other_hosts_are_misdirected",
        "proxy/test_server.py::test_unix_listener_serves_every_host",
    ),
    "H3": ("proxy/test_targets.py::test_any_target_arrives_as_it_was_and_leads_nowhere_else",),
    # Who may ask
    "A1": (
        "proxy/test_server.py::test_foreign_origins_are_forbidden_and_listed_ones_served",
        "proxy/test_server.py::test_the_upstream_judges_origins_where_none_is_listed",
        "proxy/test_admission.py::test_other_origins_are_forbidden",
    ),
    "A2": (
        "proxy/test_forwarding.py::test_a_claim_is_replaced_by_the_truth",
        "proxy/test_forwarding.py::test_uvicorn_reports_the_true_client",
        "proxy/test_forwarding.py::test_clients_of_a_unix_socket_cannot_claim_an_address",
        "proxy/test_forwarding.py::test_claims_of_which_we_know_nothing_are_dropped",
        "proxy/test_forwarding.py::test_a_trusted_peer_is_believed_and_added_to_the_list",
        "proxy/test_forwarding.py::test_a_peer_without_an_address_is_trusted_by_nobody",
        "proxy/test_forwarding.py::test_the_truth_is_told_unasked_where_that_is_wanted",
    ),
    "A3": (
        "proxy/test_forwarding.py::test_a_loop_of_two_proxies_is_ended_once_by_the_first",
        "proxy/test_admission.py::test_what_came_through_here_before_is_a_loop",
    ),
    # What is refused
    "F1": (
        "proxy/test_probe_requests.py::test_a_probe_is_refused_or_passes_to_the_byte",
        "differential/test_differential.py::test_what_is_forwarded_is_read_alike_by_other_parsers",
        "proxy/test_bad_input.py::test_a_malformed_request_is_answered_and_goes_no_further",
        "proxy/test_admission.py::test_look_alikes_of_framing_are_refused",
        "properties/test_smuggling.py::test_other_parsers_read_what_is_sent_as_the_proxy_read_it",
    ),
    "F2": ("proxy/test_admission.py::test_end_to_end_fields_cannot_be_nominated",),
    "F3": (
        "proxy/test_bad_input.py::test_a_malformed_request_is_answered_and_goes_no_further",
        "proxy/test_bad_input.py::test_a_malformed_request_behind_a_good_one_spoils_only_itself",
        "proxy/test_bad_input.py::test_a_body_that_goes_wrong_half_way_never_ends_at_the_upstream",
    ),
    "F4": (
        "proxy/test_probe_responses.py::test_an_answer_is_a_502_or_passes_to_the_byte",
        "proxy/test_bad_input.py::test_a_malformed_response_is_a_502",
        "proxy/test_bad_input.py::test_a_response_that_goes_wrong_half_way_never_ends_at_the_client",
    ),
    "F5": (
        "proxy/test_bad_input.py::test_an_upgrade_is_declined_and_what_follows_is_the_next_request",
        "proxy/test_admission.py::test_tunnels_are_not_implemented",
    ),
    "F6": (
        "proxy/test_downstream.py::test_pipelined_requests_are_answered_in_order",
        "proxy/test_downstream.py::test_pipelined_bytes_behind_a_running_request_are_bounded",
    ),
    # Time
    "T1": (
        "proxy/test_event_bytes.py::test_events_are_not_delayed",
        "proxy/test_streams.py::test_every_event_arrives_before_the_next_is_sent",
        "proxy/test_streams.py::test_head_of_a_stream_arrives_before_its_first_event",
        "proxy/test_exchange.py::test_every_byte_is_written_before_the_tap_sees_it",
        "proxy/test_deadlines.py::test_silent_event_stream_stays_open_past_every_idle_limit",
    ),
    "T2": (
        "proxy/test_streams.py::test_disconnect_reaches_the_upstream_at_once",
        "proxy/test_downstream.py::test_half_closed_client_counts_as_gone",
        "e2e/test_disconnect.py::test_modern_server_is_told_within_a_second",
        "proxy/test_streams.py::test_disconnect_of_a_client_that_must_wait_reaches_the_upstream",
        "proxy/test_downstream.py::test_client_behind_a_full_pipeline_is_seen_to_leave",
    ),
    "T3": (
        "proxy/test_early_answers.py::test_who_goes_on_sending_after_a_refusal_has_two_seconds",
        "proxy/test_faults.py::test_early_answer_is_relayed_while_uploading",
        "proxy/test_early_answers.py::test_the_rest_of_a_refused_request_is_read_only_so_far",
    ),
    "T4": (
        "proxy/test_aborted_uploads.py::test_an_upload_that_breaks_off_never_ends_properly",
        "proxy/test_faults.py::test_broken_length_reaches_client_short",
        "proxy/test_faults.py::test_truncated_upstream_never_gets_a_last_chunk",
        "proxy/test_faults.py::test_http_1_0_client_sees_truncation_as_a_reset",
        "proxy/test_tls.py::test_body_until_close_is_whole_only_with_a_closing_alert",
        "proxy/test_tls.py::test_truncation_over_tls_stays_visible",
    ),
    "T5": (
        "weight/test_bodies.py::test_upload_of_1_gib_passes_whole_and_weighs_nothing",
        "weight/test_bodies.py::test_client_that_never_reads_is_cut_and_weighs_nothing",
        "proxy/test_streams.py::test_large_body_passes_a_slow_reader_in_flat_memory",
        "proxy/test_streams.py::test_reader_that_never_reads_stops_the_writer",
    ),
    "T6": ("proxy/test_deadlines.py::test_slow_head_is_408_however_steadily_it_drips",),
    "T7": (
        "proxy/test_deadlines.py::test_stalled_body_is_408_and_frees_the_upstream",
        "proxy/test_deadlines.py::test_time_that_the_upstream_keeps_the_client_waiting_is_not_the_clients",
    ),
    "T8": (
        "proxy/test_limits.py::test_a_client_that_never_reads_is_reset_and_the_upstream_freed",
        "proxy/test_limits.py::test_a_client_that_reads_however_slowly_is_not_cut",
    ),
    "T9": (
        "proxy/test_deadlines.py::test_a_tool_may_think_for_days_where_nothing_is_set",
        "proxy/test_deadlines.py::test_late_answer_is_504_where_that_is_limited",
    ),
    "T10": (
        "proxy/test_downstream.py::test_each_connection_asks_tcp_to_find_vanished_peers",
        "faults/test_network.py::test_an_upstream_that_vanishes_mid_stream_is_found_within_about_a_minute",
    ),
    # Answers of the proxy's own
    "E1": ("proxy/test_errors.py::test_an_answer_is_plain_text_that_nobody_mistakes_for_json_rpc",),
    "E2": (
        "faults/test_matrix.py::test_a_fault_is_told_counted_and_over",
        "proxy/test_errors.py::test_every_upstream_fault_has_its_status_and_its_word",
        "proxy/test_faults.py::test_answer_that_is_no_http_is_502",
        "proxy/test_errors.py::test_who_is_told_to_come_back_is_told_when",
    ),
    "E3": (
        "faults/test_races.py::test_a_server_that_closes_idle_connections_a_bit_later_than_we_costs_no_call",
        "proxy/test_faults.py::test_safe_request_is_repeated_once_when_a_kept_connection_closes",
        "proxy/test_faults.py::test_request_with_a_body_or_an_effect_is_not_repeated",
        "proxy/test_faults.py::test_post_on_a_kept_connection_that_closes_is_sent_once",
        "proxy/test_faults.py::test_safe_request_is_not_repeated_twice_nor_on_a_new_connection",
    ),
    "E4": (
        "faults/test_matrix.py::test_a_fault_is_told_counted_and_over",
        "proxy/test_chaos.py::test_every_exchange_ends_once_whatever_either_side_does",
        "faults/test_races.py::test_an_upstream_that_comes_and_goes_is_used_again_within_a_second",
    ),
    # Figures
    "M1": (
        "e2e/test_every_family.py::test_family_equals_what_was_sent",
        "e2e/test_ledger.py::test_tool_calls_equal_the_ledger",
        "properties/test_wild_conversations.py::test_the_books_balance",
        "test_odd_messages.py::test_an_odd_call_is_counted_once",
        "test_odd_messages.py::test_what_cannot_be_read_is_counted_as_that",
    ),
    "M2": (
        "test_codings.py::test_a_coded_conversation_counts_as_the_plain_one_does",
        "fuzz/test_fuzz.py::test_no_input_breaks_a_promise",
        "protocol/test_properties.py::test_the_events_do_not_depend_on_how_the_bytes_are_cut",
        "protocol/test_captures.py::test_a_capture_gives_the_same_events_however_it_is_cut",
    ),
    "M3": (
        "observe/test_labels.py::test_callers_cannot_use_up_the_places_of_listed_names",
        "observe/test_exposition.py::test_hostile_names_never_break_a_scrape",
        "test_hostile_names.py::test_no_name_breaks_a_scrape",
        "observe/test_metrics.py::test_a_hundred_thousand_invented_names_stay_below_the_stated_bound",
    ),
    "M4": (
        "test_bombs.py::test_a_bomb_passes_in_flat_memory",
        "test_bombs.py::test_a_bomb_is_looked_at_in_short_turns",
        "protocol/test_encoding.py::test_a_bomb_never_expands_beyond_the_limit",
        "protocol/test_uninspected.py::test_a_bomb_is_not_held",
        "protocol/test_jsonrpc.py::test_nesting_beyond_all_bounds_is_too_large",
    ),
    "M5": (
        "observe/test_scrape.py::test_another_thread_does_not_wait_for_a_scrape",
        "observe/test_exposition.py::test_a_scrape_in_another_thread_does_not_mind_traffic",
        "test_waits.py::test_a_call_passes_while_a_scrape_is_written",
    ),
    "M6": (
        "test_admin_pages.py::test_scrapers_share_a_page_that_is_written_after_they_asked",
        "test_admin_pages.py::test_few_pages_are_held_whoever_does_not_read",
    ),
    # Shutdown
    "D1": (
        "test_lifecycle.py::test_order_of_the_end",
        "e2e/test_end.py::test_each_is_let_go_in_its_turn",
        "proxy/test_server.py::test_stop_closes_the_listener_and_idle_connections_at_once",
        "proxy/test_server.py::test_exchange_without_an_answer_gets_503_after_the_grace",
        "proxy/test_server.py::test_stream_is_cut_without_a_last_chunk_after_the_grace",
    ),
    "D2": (
        "proxy/test_drain.py::test_stream_ends_properly_between_two_events_and_at_once",
        "proxy/test_drain.py::test_event_that_has_begun_is_waited_for",
        "proxy/test_drain.py::test_stream_that_an_answer_is_awaited_on_is_cut_after_the_grace",
    ),
    "D3": (
        "proxy/test_drain.py::test_stream_is_cut_where_nobody_looks_because_a_call_may_wait_on_it",
        "proxy/test_drain.py::test_stream_that_an_answer_is_awaited_on_is_cut_after_the_grace",
        "proxy/test_drain.py::test_compressed_stream_is_cut_because_nobody_sees_where_events_end",
        "test_lifecycle.py::test_stream_that_a_call_waits_on_is_not_ended_before_its_answer",
    ),
    "D4": (
        "test_app.py::test_drain_has_an_end",
        "test_lifecycle.py::test_first_signal_is_exit_0_and_the_second_is_at_once",
        "test_lifecycle_end.py::test_resolver_that_hangs_does_not_delay_the_end",
        "test_lifecycle_end.py::test_stop_that_takes_too_long_is_given_up",
        "proxy/test_tls.py::test_client_that_does_not_end_tls_does_not_delay_the_end",
        "proxy/test_server.py::test_client_that_never_reads_cannot_hold_up_the_stop",
    ),
    "D5": (
        "test_lifecycle.py::test_signal_during_the_start_ends_the_process_quietly",
        "test_lifecycle.py::test_first_process_of_a_container_obeys_signals",
    ),
    "D6": (
        "test_lifecycle.py::test_restarts_behind_a_balancer_lose_no_call",
        "weight/test_restarts.py::test_fifty_restarts_behind_haproxy_lose_no_call",
    ),
    "D7": (
        "test_app.py::test_readiness_goes_first_and_the_admin_last",
        "test_admin.py::test_liveness_does_not_depend_on_readiness",
        "test_cli.py::test_wrong_file_is_told_whole_and_nothing_starts",
        "test_readiness.py::test_readiness_waits_for_the_last_listener",
    ),
    # Reload
    "R1": (
        "test_lifecycle_reload.py::test_hosts_timeouts_limits_and_log_level_change",
        "test_lifecycle_reload.py::test_what_needs_a_restart_is_named_and_nothing_at_all_changes",
        "proxy/test_forwarding.py::test_changed_settings_hold_for_heads_that_were_remembered",
    ),
    "R2": (
        "test_lifecycle_reload.py::test_slow_reading_holds_up_nobody_and_later_wishes_are_joined",
        "test_lifecycle_reload.py::test_call_in_flight_is_not_harmed",
        "test_waits.py::test_no_part_of_the_product_makes_the_loop_wait",
    ),
    "R3": ("test_lifecycle_reload.py::test_renewed_certificates_are_found_without_a_signal",),
    # TLS
    "S1": (
        "proxy/test_tls.py::test_unknown_authority_is_a_tls_failure",
        "proxy/test_tls.py::test_wrong_name_is_a_tls_failure_and_server_name_mends_it",
        "proxy/test_tls.py::test_expired_certificate_is_a_tls_failure",
        "test_lifecycle_reload.py::test_unverified_upstream_is_warned_of_at_each_start_and_shown",
        "proxy/test_tls.py::test_server_that_closes_during_the_handshake_is_502",
        "proxy/test_tls.py::test_server_that_wants_our_certificate_fails_the_exchange",
        "faults/test_matrix.py::test_a_fault_is_told_counted_and_over",
    ),
    "S2": (
        "proxy/test_tls.py::test_clients_come_by_tls",
        "proxy/test_tls.py::test_old_versions_of_tls_are_refused",
        "proxy/test_tls.py::test_clients_without_a_certificate_are_refused_where_one_is_asked_for",
    ),
    "S3": (
        "proxy/test_arrivals.py::test_handshakes_count_as_connections_and_too_many_are_reset",
        "proxy/test_arrivals.py::test_handshake_that_never_ends_is_ended",
        "test_secrets.py::test_broken_handshakes_say_nothing",
    ),
    # Secrets
    "X1": (
        "test_secrets.py::test_traffic_leaves_nothing_but_figures",
        "test_secrets.py::test_refusals_and_failures_repeat_nothing",
    ),
    "X2": ("test_secrets.py::test_exceptions_are_told_without_what_they_hold",),
    "X3": (
        "test_secrets.py::test_name_of_an_unknown_tool_is_told_as_one_line",
        "test_logs.py::test_name_stays_one_short_line_of_ascii",
        "test_logs.py::test_unknown_names_are_logged_once_a_minute_and_few_of_them",
    ),
    "X4": (
        "test_admin.py::test_nothing_can_be_changed",
        "test_admin.py::test_unknown_paths_are_not_found",
        "test_admin.py::test_metrics_are_for_those_who_know_the_secret",
        "test_app.py::test_each_listener_knows_its_own_paths_only",
        "test_admin.py::test_health_needs_no_secret",
        "test_admin.py::test_no_spelling_of_a_path_opens_more",
    ),
    "X5": (
        "test_admin_hosts.py::test_on_loopback_only_known_hosts_may_read",
        "test_admin_hosts.py::test_elsewhere_hosts_are_judged_only_where_some_are_listed",
    ),
    # Faults of the inspection
    "I1": (
        "test_fail_open_any_time.py::test_fault_at_any_time_is_one_fault_and_the_next_calls_are_seen",
        "test_fail_open.py::test_fault_at_any_step_is_counted_once_and_the_next_call_is_seen",
        "test_fail_open.py::test_fault_at_every_step_at_once_costs_all_figures_and_no_byte",
    ),
    "I2": (
        "test_fail_open.py::test_fault_at_any_step_is_counted_once_and_the_next_call_is_seen",
        "test_logs.py::test_fault_is_counted_each_time_and_logged_once_per_stage_and_minute",
    ),
    "I3": ("test_fail_open.py::test_nothing_is_looked_at_where_inspection_is_off",),
    # Connections
    "C1": (
        "proxy/test_limits.py::test_a_connection_too_many_is_told_and_closed_and_the_others_go_on",
        "proxy/test_limits.py::test_far_too_many_connections_are_reset",
    ),
    "C2": (
        "proxy/test_limits.py::test_a_request_too_many_is_told_at_once_and_its_connection_is_kept",
        "proxy/test_limits.py::test_room_comes_back_however_an_exchange_ends",
    ),
    "C3": (
        "proxy/test_limits.py::test_each_refusal_names_its_setting",
        "config/test_models.py::test_every_limit_has_a_count",
        "proxy/test_limits.py::test_upstream_limits_are_counted_beside_their_failures",
        "proxy/test_limits.py::test_idle_connections_that_are_closed_on_time_are_counted",
    ),
    "C4": (
        "proxy/test_exchange.py::test_http_1_0_client_gets_its_answer_without_chunks_until_close",
        "proxy/test_deadlines.py::test_idle_client_is_closed_without_a_word",
        "proxy/test_upstream.py::test_kept_connection_serves_one_request_after_the_other",
    ),
    "C5": (
        "faults/test_races.py::test_ten_thousand_answers_to_nobody_reach_nobody_and_are_counted_nowhere",
        "proxy/test_deadlines.py::test_idle_upstream_connection_is_closed_before_the_server_would",
        "proxy/test_upstream.py::test_unsolicited_answer_never_reaches_a_client",
        "proxy/test_upstream.py::test_idle_connection_that_speaks_is_closed_at_once",
        "proxy/test_upstream.py::test_kept_connection_that_ends_before_the_next_request_is_not_used",
        "proxy/test_faults.py::test_bytes_after_an_answer_never_reach_another_request",
        "proxy/test_upstream.py::test_connection_with_unsent_bytes_of_its_last_request_is_not_kept",
    ),
    "C6": (
        "faults/test_matrix.py::test_a_fault_is_told_counted_and_over",
        "soak/test_maps.py::test_two_thousand_lives_leave_nothing",
        "soak/test_growth.py::test_thirty_thousand_sessions_leave_nothing",
        "proxy/test_pool.py::test_client_that_leaves_at_any_moment_of_connecting_leaks_no_connection",
        "proxy/test_known_heads.py::test_the_store_is_bounded_and_leaves_out_long_heads",
        "proxy/test_forwarding.py::test_heads_of_one_client_are_remembered_within_bounds",
        "proxy/test_chaos.py::test_every_exchange_ends_once_whatever_either_side_does",
    ),
    "C7": (
        "proxy/test_descriptors.py::test_share_is_enough_for_the_clients_and_their_exchanges",
        "test_descriptors.py::test_idle_clients_leave_descriptors_for_everybody_else",
    ),
    "C8": (
        "test_admin_visitors.py::test_silent_visitors_do_not_keep_out_a_probe",
        "test_admin_visitors.py::test_each_step_of_a_visit_has_its_time",
    ),
    "C9": (
        "proxy/test_pool.py::test_exchanges_share_one_look_up",
        "proxy/test_pool.py::test_each_exchange_waits_for_the_resolver_as_long_as_it_may",
    ),
}
