//! The contract of the registry: the same cases on every engine. And what is true of one alone.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod alerts;
mod audit;
mod engine;
mod histories;
mod kept;
mod maintenance;
mod orders;
mod outbox;
mod people;
mod pipeline;
mod report;
mod reporter;
mod restored;
mod schema;
mod servers;
mod store;
mod telling;

use engine::life;
use people::{account, session};
use servers::{edit, enrolment, import, large, list, sighting, status};

/// Makes each case a test of each engine.
macro_rules! contract {
    ($($module:ident: $($case:ident)*;)*) => {
        mod sqlite {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    crate::$module::$case(crate::store::Store::sqlite().await).await;
                }
            )*)*
        }

        mod postgres {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let schema = crate::schema::Schema::make().await;
                    crate::$module::$case(crate::store::Store::postgres(schema.clone()).await).await;
                    schema.remove().await;
                }
            )*)*
        }
    };
}

contract! {
    enrolment:
        enrol_twice_is_once
        a_used_up_or_expired_token_still_answers_who_enrolled_with_it
        last_use_is_taken_once
        one_key_at_once_is_one_server
        a_bad_token_enrols_nobody
        name_is_unique_regardless_of_case
        a_taken_name_uses_nothing_up
        a_revoked_server_does_not_come_back_by_its_enrolment
        a_deleted_server_does_not_come_back_by_its_enrolment
        revoke_raises_generation_and_denylist_version
        whatever_a_restored_registry_forgot_a_later_revocation_is_above_it
        generations_that_were_counted_stay_good_until_the_next_is_issued
        a_server_that_was_never_known_is_adopted_once_with_its_credential
        a_deleted_server_stays_on_the_denylist
        a_denylist_is_whole_at_its_version
        revoking_at_once_counts_every_time
        tokens_are_listed_newest_first;
    session:
        first_admin_is_made_once
        an_admin_has_every_scope
        a_user_is_found_regardless_of_case
        a_refresh_token_rotates
        reused_refresh_token_revokes_the_family
        a_token_that_was_rotated_just_now_ends_and_yields_nothing
        a_refresh_token_is_used_once_at_once
        a_refresh_token_tells_its_holder_while_it_could_be_exchanged
        an_expired_refresh_token_is_unknown
        an_ended_session_has_no_user
        a_disabled_user_has_no_session
        a_new_epoch_ends_every_session
        expired_sessions_are_forgotten
        a_scope_of_a_later_release_is_left_out
        a_session_is_elevated_by_itself_until_it_ends
        a_session_has_one_row_however_often_it_is_refreshed
        a_session_of_the_release_before_goes_on_and_its_used_tokens_are_known_again
        a_user_has_fifty_sessions_and_the_one_refreshed_longest_ago_ends
        what_has_expired_is_forgotten_by_any_number_of_processes;
    account:
        a_user_is_made_read_changed_and_deleted
        users_are_listed_by_name_and_narrowed
        the_last_admin_stays
        a_refusal_leaves_no_trace
        of_admins_who_shut_each_other_out_at_once_one_stays
        built_in_roles_stay_as_they_are
        a_role_is_made_changed_and_deleted_when_nobody_has_it
        a_user_or_a_role_of_another_version_stays_as_it_is
        nobody_gives_or_takes_more_than_they_have
        a_password_or_disabling_ends_every_session_and_a_role_changes_it
        a_reset_password_ends_its_users_tokens_and_tells_of_each
        a_token_is_worth_what_it_and_its_maker_have_in_common
        tokens_are_their_makers_and_who_reaches_as_far_ends_them
        tokens_without_an_end_get_one_and_expired_ones_are_forgotten
        a_user_has_a_hundred_tokens_at_most;
    audit:
        every_change_is_in_the_log_and_no_refused_one
        what_cannot_be_logged_is_not_done
        an_entry_tells_who_what_before_and_after_and_no_secret
        the_log_is_filtered_paged_and_read_to_its_end
        the_log_is_forgotten_the_oldest_first_by_any_number_of_processes;
    sighting:
        older_sighting_never_wins
        a_shorter_interval_counts_at_once
        what_was_heard_ahead_of_the_clock_loses_to_any_beat
        what_was_heard_ahead_of_the_clock_is_taken_as_heard_now
        two_boots_in_turn_are_told_and_a_new_one_begins_anew
        order_and_batches_do_not_matter
        a_sighting_of_nobody_fails_nothing
        standing_tells_of_known_servers_alone
        facts_come_back_as_they_were
        damaged_facts_are_corrupt
        batches_in_any_order_at_once_do_not_block_each_other
        a_nul_in_facts_fails_nothing;
    list:
        every_filter_narrows
        search_treats_wildcards_literally
        search_folds_case_in_every_script
        a_search_that_cannot_match_finds_nothing
        paging_with_ties_is_stable_and_complete
        servers_without_a_value_sort_last
        several_keys_sort_first_to_last
        a_page_past_the_end_has_the_total
        labels_are_replaced_whole
        labels_that_are_set_at_once_do_not_mix
        hostile_text_is_only_text
        unknown_ids_are_not_found;
    large:
        pages_are_parts_of_the_sorted_list;
    status:
        status_equals_the_rule
        pauses_are_ranges
        pausing_at_once_is_once
        a_pause_that_is_extended_goes_on_whoever_ends_those_that_are_due
        a_pause_never_ends_before_it_began;
    pipeline:
        progress_is_one_row_a_worker
        a_lease_is_one_holders_until_it_ends_or_is_given_back
        of_those_who_ask_at_once_one_has_the_lease
        a_worker_that_starts_anew_keeps_what_was_settled
        workers_write_at_once
        workers_that_are_gone_are_forgotten
        the_watermark_survives_its_worker;
    report:
        a_report_and_its_deliveries_are_there_together
        a_report_is_computed_once
        who_asked_for_too_much_waits_until_it_is_less
        a_delivery_waits_for_its_report
        a_due_delivery_is_taken_once
        a_job_that_was_lost_is_taken_again
        a_delivery_is_claimed_once
        an_attempt_ends_as_it_went
        a_claim_that_nobody_settles_is_unknown_and_never_sent
        a_report_that_cannot_be_computed_fails_its_deliveries
        old_reports_are_forgotten_with_all_that_is_theirs
        a_schedule_is_made_changed_and_deleted
        a_tick_is_once_at_any_number_of_replicas
        a_changed_schedule_takes_no_tick_of_what_it_was
        reports_and_mails_are_counted_by_state_and_the_size_is_told;
    alerts:
        a_state_is_what_the_rule_says_in_whatever_order_samples_come
        what_is_in_time_is_told_by_the_stores_clock
        a_worker_that_knows_an_older_rule_writes_nothing
        an_incident_opens_rises_and_is_over_once
        judges_at_once_open_one_incident_each
        what_is_closed_does_not_open_again_until_it_was_right_once
        what_is_paused_gone_or_not_bound_is_not_called_a_recovery
        while_one_rule_is_judged_alone_what_others_raised_waits
        rules_are_made_changed_and_deleted_and_shipped_once
        rules_that_an_older_database_lacks_are_made_once
        incidents_are_narrowed_and_forgotten_once_they_are_old
        what_a_report_says_of_incidents_is_what_lasted_in_its_time;
    reporter:
        a_lease_is_written_as_the_rule_says
        of_managements_that_elect_at_once_one_does
        after_a_restore_the_lease_is_nobodys_for_as_long_as_one_may_run;
    histories:
        nothing_is_raised_or_over_but_by_what_is_so;
    telling:
        an_incident_is_told_once_by_any_number_of_replicas
        a_message_is_claimed_once_and_settled_by_its_claim
        what_nobody_settles_is_unknown_and_never_sent_by_itself
        what_waits_again_after_its_turn_says_that_newer_ones_may_have_been_first
        what_is_over_before_it_was_sent_falls
        what_is_open_again_escalates_from_then_on
        after_a_failure_the_channel_is_told_again_and_one_that_is_gone_is_disabled
        a_message_of_mail_is_what_its_mails_are_and_falls_with_them
        a_silence_mutes_and_what_is_open_at_its_end_is_told_once
        channels_and_routes_are_made_changed_and_deleted
        what_failed_is_sent_again_if_a_person_wants_it_and_old_messages_are_forgotten;
    maintenance:
        a_window_pauses_its_servers_and_nobody_elses_pause_ends_with_it
        a_window_that_is_changed_or_deleted_ends_what_lasts_of_it
        what_is_expected_is_what_neither_windows_nor_people_take_whatever_clocks_do;
    orders:
        an_order_is_signed_at_once_and_ends_by_what_its_host_says_first
        a_result_counts_only_from_the_orders_own_server_and_once_it_is_signed
        a_result_beats_that_an_order_was_taken_back_or_its_time_is_over
        a_cancellation_and_a_result_at_once_end_in_the_result
        others_approve_an_order_where_the_label_asks_for_it_and_never_who_asked
        approvals_at_once_are_as_many_and_sign_once
        a_user_makes_ten_orders_a_minute_and_a_server_has_sixteen_open
        orders_are_narrowed_counted_and_forgotten_once_they_are_old
        only_who_may_changes_how_many_approve;
    outbox:
        a_mail_is_sent_at_most_once_whatever_it_is_about
        the_release_before_makes_and_sends_mails_beside_this_one
        a_report_is_sent_and_forgotten_without_the_column_of_the_release_before;
    restored:
        everything_that_let_somebody_in_is_ended_at_once
        a_mail_that_may_have_been_sent_since_the_backup_is_never_sent
        what_was_revoked_since_the_backup_stays_refused_if_the_cache_knows_it;
    edit:
        a_server_that_was_made_enrols_once_by_its_name
        a_tokens_labels_are_those_of_who_enrols_with_it
        a_token_for_one_server_replaces_its_credential
        a_stale_change_changes_nothing
        of_changes_at_once_one_wins
        one_name_at_once_is_one_servers
        a_deleted_server_is_gone_and_its_credential_refused
        what_is_to_be_forgotten_is_due_until_it_is_and_once_more
        a_pause_ends_by_itself_unless_it_is_made_longer
        every_change_of_a_server_is_in_the_audit_log
        parts_together_are_the_list;
    import:
        a_dry_run_tells_and_changes_nothing
        one_wrong_row_leaves_everything_as_it_was
        names_can_be_exchanged
        what_a_row_does_not_tell_stays
        ten_thousand_rows_are_one_import
        a_list_of_more_than_are_worked_out_at_once_is_whole;
    life:
        reopening_keeps_everything
        migrating_twice_is_once
        a_later_schema_is_tolerated
        a_migration_that_was_edited_is_refused
        a_closed_registry_is_unavailable
        an_empty_store_is_unavailable_until_it_is_migrated
        whoever_needs_the_schema_is_told_that_it_is_missing
        an_older_schema_is_not_enough
        actions_that_were_renamed_are_found_under_their_new_name;
}
