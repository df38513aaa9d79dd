//! Operations on rows in memory.

use super::{
    BTreeMap, CallFilter, CallPage, CallRow, Cursor, Entry, Forgotten, Gone, Group, Horizon, Page, Retained,
    Rows, StoreError, Subject, UnixMs, UsageQuery, UsageRow, UsageSum, check_user_scope, normal_number,
    owned,
};

impl Rows {
    pub(super) fn write(&mut self, entry: &Entry) {
        let gone = self.gone.get(&owned(entry.tenant(), entry.call()));
        let is_forgotten = gone.is_some_and(|(_, may_write)| *may_write);
        match entry {
            Entry::Usage(row) if is_forgotten => self.write_usage(&UsageRow { user: None, ..row.clone() }),
            _ if is_forgotten => {}
            Entry::Call(row) => {
                let old = self.calls.get(&owned(&row.tenant, &row.id));
                if old.is_none_or(|old| row.revision >= old.revision) {
                    self.calls.insert(owned(&row.tenant, &row.id), row.clone());
                }
            }
            Entry::Leg(row) => {
                let key = (row.tenant.clone(), row.call.clone(), row.leg);
                let old = self.legs.get(&key);
                if old.is_none_or(|old| row.ended_at.is_some() || old.ended_at.is_none()) {
                    self.legs.insert(key, row.clone());
                }
            }
            Entry::Transcript(row) => {
                self.transcripts.insert((row.tenant.clone(), row.call.clone(), row.seq), row.clone());
            }
            Entry::Usage(row) => self.write_usage(row),
        }
    }

    fn write_usage(&mut self, row: &UsageRow) {
        let parts = [&row.provider, &row.provider_session, &row.kind, &row.source];
        let key = parts.map(String::clone);
        let stays = |old: &UsageRow| old.tenant != row.tenant || !row.quality.replaces(old.quality);
        if !self.usage.get(&key).is_some_and(stays) {
            self.usage.insert(key, row.clone());
        }
    }

    pub(super) fn page_of_calls(
        &self,
        filter: &CallFilter,
        page: &Page,
    ) -> Result<(Vec<CallRow>, Option<String>), StoreError> {
        check_user_scope(filter.tenant.as_deref(), filter.user.as_ref())?;
        let after = page.after.as_deref().map(Cursor::parse).transpose()?;
        let wanted = |call: &&CallRow| {
            let later = |cursor: &Cursor| (call.started_at.0, &call.id) < (cursor.started_at, &cursor.id);
            filter.tenant.as_ref().is_none_or(|tenant| *tenant == call.tenant)
                && filter.user.as_ref().is_none_or(|user| call.user.as_ref() == Some(user))
                && after.as_ref().is_none_or(later)
        };
        let mut calls: Vec<_> = self.calls.values().filter(wanted).cloned().collect();
        calls.sort_by(|a, b| (b.started_at, &b.id).cmp(&(a.started_at, &a.id)));
        let more = calls.len() > page.rows();
        calls.truncate(page.rows());
        let next = calls.last().filter(|_| more).map(Cursor::of);
        Ok((calls, next))
    }

    pub(super) fn call(&self, tenant: &str, id: &str) -> Option<CallPage> {
        let call = self.calls.get(&owned(tenant, id))?.clone();
        let legs = self.legs.values().filter(|row| row.tenant == tenant && row.call == id).cloned().collect();
        let said = self.transcripts.values().filter(|row| row.tenant == tenant && row.call == id);
        let mut usage: Vec<_> =
            self.usage.values().filter(|row| row.tenant == tenant && row.call == id).cloned().collect();
        usage.sort_by(|a, b| (a.at, &a.kind, &a.source).cmp(&(b.at, &b.kind, &b.source)));
        Some(CallPage { call, legs, transcript: said.cloned().collect(), usage })
    }

    pub(super) fn sums(&self, query: &UsageQuery) -> Result<Vec<UsageSum>, StoreError> {
        check_user_scope(query.tenant.as_deref(), query.user.as_ref())?;
        let mut sums = BTreeMap::<_, UsageSum>::new();
        for row in self.usage.values().filter(|row| asked_for(query, row)) {
            let by = |group, value: &str| query.group_by.contains(&group).then(|| value.to_owned());
            let user = row.user.clone().filter(|_| query.group_by.contains(&Group::User));
            let day = query.group_by.contains(&Group::Day).then(|| row.at.day());
            let tenant = by(Group::Tenant, &row.tenant);
            let (route, model) = (by(Group::Route, &row.route), by(Group::Model, &row.model));
            let key = (tenant.clone(), user.clone(), route.clone(), model.clone(), day);
            let first = UsageSum { tenant, user, route, model, day, ..UsageSum::default() };
            sums.entry(key).or_insert(first).add(row);
        }
        if sums.is_empty() && query.group_by.is_empty() {
            return Ok(vec![UsageSum::default()]);
        }
        Ok(sums.into_values().collect())
    }

    pub(super) fn delete_tenant(&mut self, name: &str, at: UnixMs) -> bool {
        let Some(row) = self.tenants.get_mut(name).filter(|row| row.deleted_at.is_none()) else {
            return false;
        };
        row.deleted_at = Some(at);
        self.routes.retain(|(owner, _), _| owner != name);
        self.secrets.retain(|(owner, _), _| owner != name);
        for key in self.keys.values_mut().filter(|key| key.tenant == name) {
            key.revoked_at.get_or_insert(at);
        }
        for bot in self.bots.values_mut().filter(|bot| bot.tenant == name) {
            bot.revoked_at.get_or_insert(at);
        }
        for key in self.bot_keys.values_mut().filter(|key| key.tenant == name) {
            key.revoked_at.get_or_insert(at);
        }
        true
    }

    pub(super) fn forget(&mut self, tenant: &str, subject: &Subject) -> Forgotten {
        let is_subject = |call: &CallRow| match subject {
            Subject::User(user) => call.user.as_ref() == Some(user),
            Subject::Number(number) => [&call.caller, &call.called]
                .into_iter()
                .flatten()
                .any(|other| normal_number(other.reveal()) == normal_number(number.reveal())),
        };
        let calls: Vec<_> = self
            .calls
            .values()
            .filter(|call| call.tenant == tenant && is_subject(call))
            .map(|call| call.id.clone())
            .collect();
        let recordings = self.note_gone(tenant, true, |call| calls.contains(&call.id));
        let mut forgotten = Forgotten { recordings, ..self.delete_calls(tenant, &calls) };
        for row in self.usage.values_mut().filter(|row| row.tenant == tenant && row.user.is_some()) {
            let named = matches!(subject, Subject::User(user) if row.user.as_ref() == Some(user));
            if named || calls.contains(&row.call) {
                row.user = None;
                forgotten.usage += 1;
            }
        }
        forgotten
    }

    /// Deletes calls with legs and transcripts.
    fn delete_calls(&mut self, tenant: &str, ids: &[String]) -> Forgotten {
        let before = (self.calls.len(), self.legs.len(), self.transcripts.len());
        let stays = |owner: &String, id: &String| owner != tenant || !ids.contains(id);
        self.calls.retain(|(owner, id), _| stays(owner, id));
        self.legs.retain(|(owner, id, _), _| stays(owner, id));
        self.transcripts.retain(|(owner, id, _), _| stays(owner, id));
        Forgotten {
            calls: (before.0 - self.calls.len()) as u64,
            legs: (before.1 - self.legs.len()) as u64,
            transcripts: (before.2 - self.transcripts.len()) as u64,
            ..Forgotten::default()
        }
    }

    /// Notes calls whose files are to be removed; how many recordings that are.
    fn note_gone(&mut self, tenant: &str, is_forgotten: bool, which: impl Fn(&CallRow) -> bool) -> u64 {
        let mut recordings = 0;
        for call in self.calls.values_mut().filter(|call| call.tenant == tenant && which(call)) {
            let recording = call.recording.take();
            recordings += u64::from(recording.is_some());
            let new = Gone { call: call.id.clone(), recording, is_forgotten, gone_at: UnixMs::now() };
            let key = owned(tenant, &call.id);
            let may_write = is_forgotten && call.ended_at.is_none();
            let recording = self.gone.remove(&key).and_then(|(old, _)| old.recording);
            let new = Gone { recording: new.recording.clone().or(recording), ..new };
            self.gone.insert(key, (new, may_write));
        }
        recordings
    }

    pub(super) fn gone(&self, since: UnixMs, after: &str) -> Vec<Gone> {
        let all = self.gone.values().map(|(gone, _)| gone);
        let later = all.filter(|gone| gone.gone_at >= since && gone.call.as_str() > after);
        let mut all: Vec<_> = later.cloned().collect();
        all.sort_by(|a, b| a.call.cmp(&b.call));
        all.truncate(crate::PAGE_MAX as usize);
        all
    }

    pub(super) fn retain(&mut self, tenant: &str, horizon: &Horizon) -> Retained {
        let begun_before = |rows: &Self, before: UnixMs| -> Vec<String> {
            let old = rows.calls.values().filter(|call| call.tenant == tenant && call.started_at < before);
            old.map(|call| call.id.clone()).collect()
        };
        let quiet = begun_before(self, horizon.transcripts);
        let transcripts = self.transcripts.len();
        self.transcripts.retain(|(owner, id, _), _| owner != tenant || !quiet.contains(id));
        let transcripts = (transcripts - self.transcripts.len()) as u64;
        self.gone.retain(|(owner, _), (gone, _)| owner != tenant || gone.gone_at >= horizon.gone);
        let too_old = |call: &CallRow| call.started_at < horizon.recordings && call.recording.is_some();
        let recordings = self.note_gone(tenant, false, too_old);
        let gone = self.delete_calls(tenant, &begun_before(self, horizon.calls));
        let old = |row: &&mut UsageRow| row.tenant == tenant && row.at < horizon.calls;
        self.usage.values_mut().filter(old).for_each(|row| row.user = None);
        let usage = self.usage.len();
        self.usage.retain(|_, row| row.tenant != tenant || row.at >= horizon.usage);
        Retained {
            calls: gone.calls,
            transcripts: transcripts + gone.transcripts,
            usage: (usage - self.usage.len()) as u64,
            recordings,
        }
    }
}

fn asked_for(query: &UsageQuery, row: &UsageRow) -> bool {
    query.tenant.as_ref().is_none_or(|tenant| *tenant == row.tenant)
        && query.user.as_ref().is_none_or(|user| row.user.as_ref() == Some(user))
        && query.from.is_none_or(|from| row.at >= from)
        && query.to.is_none_or(|to| row.at < to)
}
