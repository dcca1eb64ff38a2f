//! The contract, as every adapter must keep it. Each case takes an empty store, behind its traits alone; another
//! adapter runs the same list by one more module here.

mod audit_log;
mod ceremonies;
mod clients;
mod deployment;
mod factors;
mod grants;
mod idempotency;
mod key_ring;
mod logins;
mod otp_validation;
mod secrets;
mod sessions;
mod tries;
mod users;

macro_rules! on_every_store {
    ($($noun:ident :: $case:ident),+ $(,)?) => {
        on_every_store!(@ sqlite Place::new(); $($noun::$case),+);
        on_every_store!(@ postgres Database::new(); $($noun::$case),+);
    };
    (@ $engine:ident $place:expr; $($noun:ident :: $case:ident),+) => {
        mod $engine {
            #[expect(unused_imports, reason = "each engine has a place of its own")]
            use crate::support::{postgres::Database, store::Place};
            use crate::support::store::all_rows_verify;
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $case() {
                    let place = $place;
                    let store = place.open().await;
                    super::$noun::$case(store.as_ref()).await;
                    all_rows_verify(&store).await;
                    store.close().await;
                }
            )+
        }
    };
}

on_every_store!(
    users::a_user_comes_back_as_added,
    users::a_taken_name_is_refused_and_untold,
    users::a_name_is_one_users_however_it_is_spelt,
    users::each_change_of_a_user_touches_its_own_column,
    users::a_user_gets_grants_while_the_credentials_stay,
    users::a_user_without_a_password_is_given_one,
    users::users_are_listed_page_by_page,
    users::roles_wait_until_they_are_approved_as_they_were_seen,
    users::a_removed_user_takes_factors_and_grants_along,
    users::what_is_gone_is_not_changed,
    users::tenants_do_not_see_each_other,
    factors::factors_come_back_as_added_the_oldest_first,
    factors::a_factor_needs_its_user_and_a_free_public_id,
    factors::a_removed_factor_is_gone_with_its_secret,
    factors::a_removed_factor_ends_what_it_may_have_begun,
    factors::a_totp_step_is_spent_once_and_never_lowered,
    factors::a_yubico_counter_is_spent_once_and_never_lowered,
    ceremonies::an_assertion_is_spent_once_and_its_counter_never_lowered,
    ceremonies::a_challenge_is_spent_once_and_forgotten_after_its_time,
    sessions::a_session_comes_back_while_it_holds,
    sessions::a_session_is_renewed_once_by_its_secret,
    sessions::a_session_is_ended_by_its_user_alone,
    otp_validation::otp_clients_come_back_as_added_by_number,
    otp_validation::otp_clients_are_listed_page_by_page,
    otp_validation::otp_keys_come_back_as_added_page_by_page,
    otp_validation::a_public_id_is_a_factors_or_a_keys_and_never_both,
    otp_validation::a_validated_otp_is_spent_once_and_its_request_known_again,
    otp_validation::nothing_is_spent_of_the_disabled,
    factors::a_factor_is_disabled_approved_and_named_by_one_write_each,
    factors::a_person_changes_factors_while_the_session_holds,
    factors::a_recovery_code_is_spent_once,
    factors::a_stock_token_is_kept_once_and_assigned_once,
    clients::a_client_comes_back_as_added,
    clients::clients_are_listed_page_by_page,
    clients::a_taken_client_name_or_id_is_refused,
    clients::each_change_of_a_client_touches_its_own_column,
    clients::a_removed_client_takes_its_grants_along,
    grants::a_grant_comes_back_with_its_first_token,
    grants::no_grant_for_the_disabled_or_the_gone,
    grants::a_rotation_spends_one_token_and_makes_another,
    grants::a_rotation_is_lost_once_spent_ended_expired_or_disabled,
    grants::a_retry_is_confirmed_while_the_family_holds,
    grants::a_family_ends_once_and_tells_either_way,
    grants::disabling_ends_every_family,
    grants::a_disabled_clients_many_families_end_and_an_enabled_ones_stay,
    grants::a_users_grants_are_listed_page_by_page_while_they_hold,
    grants::pruning_forgets_what_expired_and_nothing_else,
    grants::a_revoked_token_stays_revoked_until_pruned,
    idempotency::a_key_stands_for_one_request_until_its_time_is_over,
    secrets::the_deployment_secret_is_kept_once,
    secrets::a_removed_deployment_secret_gets_no_successor,
    secrets::what_a_token_lacks_is_listed_page_by_page,
    secrets::seals_are_added_to_the_secret_that_was_read_and_to_no_other,
    secrets::seals_of_a_token_are_removed_where_another_has_one,
    secrets::a_token_is_retired_with_its_keys_unless_nothing_else_signs,
    tries::a_right_sign_in_is_settled_once_and_told,
    tries::what_is_locked_is_spent_and_refused,
    tries::neither_half_counts_and_one_counts_for_its_factor,
    tries::failures_are_listed_until_they_are_answered_for,
    deployment::hsm_tokens_are_bound_once,
    deployment::keys_move_from_stage_to_stage,
    deployment::a_pair_keeps_its_public_half,
    deployment::a_probe_writes,
    deployment::a_rule_is_decided_by_what_was_seen_of_it,
    deployment::settings_are_stated_while_those_that_were_seen_hold,
    deployment::proposed_settings_wait_until_they_hold_or_are_taken_back,
    deployment::what_a_file_stated_is_known_until_it_is_removed,
    deployment::each_noun_has_a_generation_of_its_own,
    deployment::the_generation_rises_with_users_factors_clients_and_keys,
    key_ring::a_signing_key_is_in_a_member_alone,
    key_ring::an_active_key_has_its_place_alone,
    key_ring::keys_change_places_in_one_commit,
    key_ring::a_key_retires_after_the_longest_token_that_was_noted,
    key_ring::a_place_gets_one_successor,
    key_ring::an_announced_key_is_known_until_it_is_added_or_forgotten,
    key_ring::a_lease_has_one_holder_until_it_runs_out,
    logins::logins_come_back_as_written,
    logins::logins_are_changed_by_whoever_read_them_last,
    logins::a_login_is_over_when_its_lease_has_run_out,
    audit_log::records_are_chained_in_order,
    audit_log::an_append_gives_the_generation_of_its_commit,
    audit_log::records_and_checkpoints_are_counted_by_what_they_say_of_a_key,
    audit_log::many_concurrent_appends_make_one_chain,
    audit_log::checkpoints_are_kept_in_order,
    audit_log::counts_are_kept_in_the_place_of_those_that_are_known,
);
