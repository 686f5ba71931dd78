//! The contract of the registry: the same cases on every engine. And what is true of one alone.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod enrolment;
mod life;
mod list;
mod people;
mod pipeline;
mod schema;
mod server;
mod sighting;
mod status;
mod store;

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
        a_deleted_server_stays_on_the_denylist
        a_denylist_is_whole_at_its_version
        revoking_at_once_counts_every_time
        tokens_are_listed_newest_first;
    people:
        first_admin_is_made_once
        an_admin_has_every_scope
        a_user_is_found_regardless_of_case
        a_refresh_token_rotates
        reused_refresh_token_revokes_the_family
        a_refresh_token_is_used_once_at_once
        an_expired_refresh_token_is_unknown
        an_ended_session_has_no_user
        a_disabled_user_has_no_session
        a_new_epoch_ends_every_session
        expired_sessions_are_forgotten
        a_scope_of_a_later_release_is_left_out;
    sighting:
        older_sighting_never_wins
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
    status:
        status_equals_the_rule
        pauses_are_ranges
        pausing_at_once_is_once
        a_pause_never_ends_before_it_began;
    pipeline:
        progress_is_one_row_a_worker
        a_worker_that_starts_anew_keeps_what_was_settled
        workers_write_at_once
        workers_that_are_gone_are_forgotten
        the_watermark_survives_its_worker;
    life:
        reopening_keeps_everything
        migrating_twice_is_once
        a_later_schema_is_tolerated
        a_migration_that_was_edited_is_refused
        a_closed_registry_is_unavailable
        an_empty_store_is_unavailable_until_it_is_migrated
        whoever_needs_the_schema_waits_for_it
        an_older_schema_is_not_enough;
}
