//! The interface by HTTP, with a clock that stands still: the same cases over the stores of each composition, and what
//! is true of one alone.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod alerts;
mod audit;
mod authorisation;
mod bodies;
mod conformance;
mod enrolment;
mod faults;
mod first_admin;
mod hostile;
mod killed;
mod life;
mod lists;
mod orders;
mod people;
mod place;
mod process;
mod processes;
mod real;
mod replicas;
mod reporters;
mod reports;
mod servers;
mod sessions;
mod sheets;
mod snapshots;
mod status;
mod suite;
mod telling;
mod uptime;
mod versions;
mod years;

/// Makes each case a test of each composition. The others are of the embedded one alone: what `authorisation` and `hostile`
/// refuse reaches no store, and throttling by other keys or of many log-ins adds nothing but hashes.
macro_rules! compositions {
    ($($module:ident: $($case:ident)*;)*) => {
        mod embedded {
            $($(
                #[actix_web::test]
                async fn $case() {
                    crate::place::embedded(crate::$module::$case).await;
                }
            )*)*
        }

        mod fleet {
            $($(
                #[actix_web::test]
                async fn $case() {
                    crate::place::fleet(crate::$module::$case).await;
                }
            )*)*
        }
    };
}

compositions! {
    conformance:
        every_answer_is_as_documented;
    alerts:
        who_falls_silent_is_an_incident_until_heard_again
        silence_is_found_and_ended_without_the_cache
        while_monitoring_is_late_that_is_the_one_thing_that_is_told
        who_enrolled_and_is_not_heard_for_an_hour_is_told
        a_rule_that_no_longer_binds_ends_its_incidents
        a_rule_that_cannot_work_is_refused_by_its_field
        the_edge_cut_with_a_canary_is_one_deafness_and_no_storm_when_it_is_back
        a_preview_counts_how_often_a_rule_would_have_fired_and_what_it_did_not_look_at
        nobody_in_maintenance_is_missed_and_their_uptime_does_not_fall
        a_window_that_cannot_work_is_refused_by_its_field;
    orders:
        an_order_is_signed_told_to_the_gates_and_ends_by_its_hosts_word
        who_has_no_log_in_no_password_or_no_scope_orders_nothing
        an_order_that_cannot_be_is_refused_by_its_field
        what_a_host_takes_is_known_without_the_cache_too
        an_emptied_cache_has_all_notices_again_and_what_is_over_goes
        somebody_else_approves_where_the_label_says_so
        ten_orders_a_minute_are_enough;
    reporters:
        of_the_agents_that_would_tell_one_that_is_heard_has_the_lease
        a_restored_registry_elects_nobody_while_a_lease_may_run;
    processes:
        a_moment_is_the_nearest_sample_with_who_its_rows_are
        a_range_is_who_used_how_much_of_it
        command_lines_are_for_whoever_may_read_them;
    audit:
        a_change_tells_who_made_it_from_where
        refused_log_ins_are_there_as_long_as_they_are_not_throttled
        log_in_and_log_out_are_there
        the_log_is_filtered_paged_and_exported_alike
        the_log_is_kept_for_as_long_as_the_setting_says;
    people:
        a_user_is_made_logs_in_is_changed_and_deleted
        what_cannot_be_a_user_is_refused_by_its_code
        the_last_admin_cannot_lock_everybody_out
        a_password_is_changed_with_the_one_in_force_and_ends_every_session
        who_guesses_the_password_of_an_open_session_is_stopped
        disabling_and_another_role_count_on_every_replica
        a_role_is_a_name_for_scopes
        an_api_token_serves_as_far_as_it_and_its_maker_reach
        nobody_makes_a_token_of_more_than_they_have
        a_stolen_session_makes_no_token_without_the_password
        who_guesses_the_password_of_a_stolen_session_is_stopped_and_its_owner_is_not
        a_token_expires_in_90_days_unless_said_otherwise_and_never_later_than_the_setting
        tokens_of_a_release_without_an_end_get_90_days_and_old_ones_go
        who_manages_users_sees_and_ends_everybodys_tokens
        a_password_that_is_set_ends_the_users_tokens_unless_told_otherwise;
    enrolment:
        an_enrolled_server_has_a_credential_and_can_be_read
        a_lost_answer_burns_nothing
        a_name_is_unique_regardless_of_case
        an_expired_or_revoked_token_is_refused
        tokens_are_listed_without_themselves_newest_first
        revoking_what_is_not_there_is_404
        bad_tokens_are_throttled_by_their_address_and_good_ones_never
        the_host_that_monitors_itself_enrols_once_with_a_token_of_its_own;
    first_admin:
        a_generated_password_is_for_its_owner_alone_and_serves
        a_crash_between_file_and_user_keeps_the_password_of_the_file
        a_given_password_is_written_nowhere
        without_a_place_for_the_password_there_is_no_user
        a_lost_password_is_reset_and_ends_what_was_proved_by_it;
    reports:
        a_report_is_computed_once_and_each_recipient_has_a_delivery
        a_mail_that_is_to_be_tried_again_is_published_again_when_it_is_due
        a_sheet_is_attached_as_what_was_asked_for
        what_no_report_can_be_made_of_is_refused
        a_schedule_is_made_shown_changed_and_deleted
        missed_runs_of_the_last_day_are_caught_up_once
        who_asks_for_more_mails_than_there_may_be_is_told_when_to_come_back;
    life:
        a_server_that_was_made_is_taken_over_by_who_enrols_under_its_name
        a_change_needs_the_version_that_was_read
        a_change_is_bounded_like_what_is_made
        a_pause_is_shown_and_ends_by_itself
        a_deleted_server_is_refused_everywhere_and_its_name_is_free
        a_history_that_somebody_deletes_counts_no_longer_and_goes
        a_token_for_one_server_rotates_its_credential
        a_tokens_labels_come_with_who_enrols;
    servers:
        a_server_shows_its_facts_its_latest_and_when_it_was_seen
        what_is_not_there_is_404
        the_list_is_filtered_sorted_and_paged
        the_whole_fleet_is_a_picture_of_which_only_what_changed_is_sent_again
        servers_are_sorted_and_filtered_by_what_was_measured_last
        revoking_denies_at_once_and_an_emptied_cache_has_it_again;
    sessions:
        a_log_in_gives_tokens_that_serve_and_nobody_may_keep
        ten_failures_close_an_account_to_their_address_for_a_quarter_of_an_hour
        success_is_never_throttled
        a_refresh_token_serves_once_and_its_reuse_ends_the_session
        a_page_has_its_refresh_token_in_a_cookie_and_a_foreign_page_has_no_use_for_it
        people_see_where_they_are_logged_in_and_log_out_everywhere
        a_session_lasts_while_it_is_refreshed_and_30_days_longer
        logging_out_ends_the_session_at_once_and_no_other
        an_access_token_expires_by_our_clock
        a_disabled_user_is_out_at_once
        no_secret_is_stored_as_it_is;
    snapshots:
        a_range_is_reduced_to_its_points
        the_last_hour_in_60_points_unless_said_otherwise
        a_range_is_told_part_by_part_of_its_newest_snapshots;
    sheets:
        what_was_exported_imports_unchanged
        whatever_servers_are_called_their_export_imports_unchanged
        an_export_is_narrowed_like_the_list
        a_dry_run_tells_what_would_become_of_each_row
        one_wrong_row_leaves_everything_as_it_was
        a_hostile_file_is_refused;
    status:
        before_anything_was_settled_monitoring_is_late_and_nobody_is_down
        a_server_is_down_after_four_intervals_of_silence
        a_stall_of_the_pipeline_is_one_fact_and_downs_nobody
        who_writes_most_is_told_by_name
        a_restart_of_monitoring_downs_nobody_who_answers_within_one_interval
        losing_the_cache_finds_silence_later_and_never_falsely
        a_count_of_dead_letters_is_told_for_a_minute;
    telling:
        a_secret_goes_in_and_never_comes_out
        what_cannot_work_is_refused_by_its_field
        channels_routes_and_silences_are_changed_by_who_saw_them
        who_falls_silent_among_others_is_told_with_them_and_who_does_alone_at_once
        who_falls_silent_is_told_once_by_all_replicas_and_its_return_too;
    lists:
        who_has_a_list_is_not_sent_it_again
        answers_are_compressed_for_who_takes_it;
    versions:
        what_people_change_is_changed_by_who_saw_its_version
        of_several_who_saw_the_same_version_one_changes_it;
    uptime:
        a_healthy_server_shows_all_of_the_last_hour
        a_gap_counts
        outages_are_what_is_expected_less_what_is_covered
        a_cloned_machine_and_generous_covers_hide_no_outage
        a_server_that_is_down_is_expected_up_to_the_watermark
        nothing_is_expected_of_one_never_heard_before_enrolment_or_in_the_future
        pauses_are_not_expected
        the_last_24_hours_unless_said_otherwise
        every_server_has_a_line_and_the_lists_filters_serve
        the_uptime_of_all_together_is_the_sum_of_their_lines
        many_servers_have_a_figure_a_day_that_adds_up_to_their_uptime
        a_page_of_servers_tells_in_one_answer_how_they_did_lately
        servers_are_sorted_by_their_uptime_of_the_last_day
        without_history_there_is_no_figure;
}
