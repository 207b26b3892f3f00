internal import LwM2M
internal import Secrets

/// What a rewritten write or pack leaves to be stored and told.
extension BootstrapSession {
    /// Sends new credentials and grants for these accounts to the store, and tells the journal of them and of the accounts.
    mutating func keep(
        _ new: [OneTimeCredential], for accounts: [AccountChange], wallClock: Int64, into actions: inout [Action]
    ) {
        guard let origin = self.attempt?.origin else { return }
        var minted = new
        for index in minted.indices {
            // Which account it was minted for shows only now.
            if let place = accounts.firstIndex(where: { $0.isFor(minted[index]) }) {
                minted[index].written = accounts[place].written
            }
        }
        self.attempt?.minted += minted
        let granted = self.grants(for: accounts, endpoint: origin.endpoint, wallClock: wallClock)
        self.attempt?.granted += granted
        if !minted.isEmpty || !granted.isEmpty {
            self.attempt?.storing += 1
            actions.append(.store(minted, grants: granted))
            for index in minted.indices {
                actions.append(.journal(self.mintedEvent(minted[index], of: origin, wallClock)))
            }
            for grant in granted { actions.append(.journal(self.mintedEvent(grant, of: origin, wallClock))) }
        }
        for index in accounts.indices {
            actions.append(.journal(self.writtenEvent(accounts[index], of: origin, wallClock)))
        }
    }

    /// Leave to register for each relayed server whose account goes out without a key; once in a bootstrap (T30).
    private func grants(for accounts: [AccountChange], endpoint: String, wallClock: Int64) -> [PlainGrant] {
        // In most bootstraps no account goes out so: then none is copied.
        guard accounts.contains(where: { $0.after.securityMode == SecurityMode.noSec.name }) else { return [] }
        return accounts.compactMap { account in
            guard account.after.securityMode == SecurityMode.noSec.name, let server = account.server,
                let shortServerID = account.shortServerID,
                self.attempt?.granted.contains(where: {
                    $0.key.server == server && $0.shortServerID == shortServerID && $0.written == account.written
                }) == false,
                self.configuration.servers.contains(where: { $0.name == server && $0.relay != nil })
            else { return nil }
            return PlainGrant.mint(
                for: self.subject.record, endpoint: endpoint, server: server, shortServerID: shortServerID,
                written: account.written, at: wallClock
            )
        }
    }
}

extension BootstrapSession.Attempt {
    /// The identities of the one-time credentials that go out in these accounts.
    func identities(in accounts: [AccountChange]) -> [PSKIdentity] {
        guard !self.minted.isEmpty else { return [] }
        return accounts.compactMap { account in
            guard account.after.securityMode == SecurityMode.preSharedKey.name else { return nil }
            return self.minted.last { account.isFor($0) && $0.written == account.written }?.identity
        }
    }
}

extension AccountChange {
    fileprivate func isFor(_ credential: OneTimeCredential) -> Bool {
        self.server == credential.server && self.shortServerID == credential.shortServerID
    }
}
