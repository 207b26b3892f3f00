internal import ArgumentParser
internal import Foundation
internal import Gateway
internal import Records
internal import Secrets

/// `bootgate credentials`: the one-time credentials that bootstraps handed out.
struct CredentialsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "credentials", abstract: "List one-time credentials, or revoke those of a SIM.",
        subcommands: [List.self, Revoke.self]
    )

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List credentials; keys show as fingerprints.")
        @Option(help: "Only of this SIM.") var iccid: String?
        @Option(help: "Only for this server, by its name in the configuration.") var server: String?
        @Option(help: "Only in this state: pending, active, replaced, revoked or expired.") var state: String?
        @Flag(help: "Leave to register over the plain port, instead of credentials.") var grants = false
        @Flag(help: "Whole identities, as revoke --identity takes them.") var full = false
        @Option(help: ArgumentHelp("Begin behind this line of the list before.", valueName: "cursor")) var after: Int64?
        @Option(help: "At most so many, up to 10000.") var limit = 100
        @Flag(help: "One JSON object a line.") var json = false
        @OptionGroup var config: ConfigurationOption

        func validate() throws {
            guard self.state == nil || self.known != nil else {
                let names = OneTimeCredential.State.allCases.map(\.rawValue).joined(separator: ", ")
                throw ValidationError("--state takes one of \(names)")
            }
            guard (1...10_000).contains(self.limit) else {
                throw ValidationError("--limit is \(self.limit); expected 1 to 10000")
            }
        }

        private var known: OneTimeCredential.State? { self.state.flatMap(OneTimeCredential.State.init(rawValue:)) }

        func run() throws {
            var page = CredentialLister.Page()
            page.iccid = try self.iccid.map { text in try reporting { try ICCID(text).digits } }
            page.server = self.server
            page.state = self.known
            page.after = self.after
            page.limit = self.limit
            let records = try self.config.openRecords()
            defer { records.close() }
            let (listings, next) = try reporting {
                try self.grants ? records.credentials.listGrants(page) : records.credentials.list(page)
            }
            var table = Table(["ICCID", "SERVER", "SSID", "STATE", "KEY", "IDENTITY", "MINTED", "USED", "ENDED"])
            for listing in listings {
                if self.json {
                    Terminal.say(JSONText.line(self.object(of: listing)))
                } else {
                    table.add([
                        listing.iccid, listing.server, "\(listing.shortServerID)", listing.state.rawValue,
                        listing.fingerprint ?? "none", self.identity(of: listing) ?? "-",
                        Self.text(listing.mintedAt), listing.provenAt.map(Self.text) ?? "",
                        listing.endedAt.map(Self.text) ?? "",
                    ])
                }
            }
            if !self.json { Terminal.say(table.text) }
            if let next { Terminal.complain("more with --after \(next)") }
        }

        private func identity(of listing: CredentialListing) -> String? {
            self.full ? listing.identity?.text : listing.identity?.description
        }

        private func object(of listing: CredentialListing) -> [String: Any] {
            var object: [String: Any] = [
                "iccid": listing.iccid, "endpoint": listing.endpoint, "server": listing.server,
                "ssid": Int(listing.shortServerID), "state": listing.state.rawValue,
                "minted": Self.text(listing.mintedAt),
            ]
            if let key = listing.fingerprint { object["key"] = key }
            if let identity = self.identity(of: listing) { object["identity"] = identity }
            if let used = listing.provenAt { object["used"] = Self.text(used) }
            if let ended = listing.endedAt { object["ended"] = Self.text(ended) }
            return object
        }

        private static func text(_ microseconds: Int64) -> String {
            Date(timeIntervalSince1970: Double(microseconds) / 1_000_000).ISO8601Format()
        }
    }

    struct Revoke: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Revoke the credentials of a SIM, all or those for one server, or a single one.",
            discussion: """
                Live sessions end within a second, servers that were told the keys are told that they count no more, and the \
                device bootstraps again. Leave to register over the plain port ends with the credentials of its server.
                """
        )

        @Argument(help: "The SIM; not with --identity.") var iccid: String?
        @Option(help: "Only those for this server, by its name in the configuration.") var server: String?
        @Option(help: "Only this one; `credentials list --full` shows whole identities.") var identity: String?
        @OptionGroup var config: ConfigurationOption

        func validate() throws {
            if (self.iccid == nil) == (self.identity == nil) {
                throw ValidationError("name either a SIM or --identity")
            }
            if self.identity != nil && self.server != nil { throw ValidationError("--server goes with a SIM") }
        }

        func run() throws {
            let records = try self.config.openRecords()
            defer { records.close() }
            if let identity {
                let owner = try reporting { try records.revokeCredential(identity, by: actor) }
                Terminal.say("the credential of \(owner) revoked")
                return
            }
            let iccid = try reporting { try ICCID(self.iccid ?? "") }
            if let server { try self.require(server, of: iccid, in: records) }
            try reporting { try records.revokeCredentials(of: iccid, server: self.server, by: actor) }
            let which = self.server.map { " for \($0)" } ?? ""
            Terminal.say("credentials of \(iccid)\(which) revoked")
        }

        /// A mistyped name must not look as if something had been revoked. Servers that have gone from the configuration
        /// count while the SIM has credentials or grants for them.
        private func require(_ server: String, of iccid: ICCID, in records: Records) throws {
            if try self.config.load().gateway.servers.contains(where: { $0.name == server }) { return }
            var page = CredentialLister.Page()
            (page.iccid, page.server, page.limit) = (iccid.digits, server, 1)
            let left = try reporting {
                try records.credentials.list(page).listings + records.credentials.listGrants(page).listings
            }
            guard left.isEmpty else { return }
            throw fail(
                .badData,
                "no server is called '\(Terminal.printable(server))', and SIM \(iccid) has no credential for one; nothing was "
                    + "revoked; `bootgate credentials list --iccid \(iccid)` shows the names")
        }
    }
}
