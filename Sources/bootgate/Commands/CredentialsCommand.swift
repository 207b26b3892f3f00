internal import ArgumentParser
internal import Foundation
internal import Gateway
internal import Records

/// `bootgate credentials`: the one-time credentials that bootstraps handed out.
struct CredentialsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "credentials", abstract: "List one-time credentials, or revoke those of a SIM.",
        subcommands: [List.self, Revoke.self]
    )

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List credentials; keys show as fingerprints.")
        @Option(help: "Only of this SIM.") var iccid: String?
        @Option(help: "At most so many.") var limit = 100
        @Flag(help: "One JSON object a line.") var json = false
        @OptionGroup var config: ConfigurationOption

        func run() throws {
            var page = CredentialLister.Page()
            page.iccid = try self.iccid.map { text in try reporting { try ICCID(text).digits } }
            page.limit = self.limit
            let records = try self.config.openRecords()
            defer { records.close() }
            let (listings, _) = try reporting { try records.credentials.list(page) }
            var table = Table(["ICCID", "SERVER", "SSID", "STATE", "KEY", "IDENTITY", "MINTED"])
            for listing in listings {
                let minted = Self.text(listing.mintedAt)
                if self.json {
                    Terminal.say(
                        JSONText.line([
                            "iccid": listing.iccid, "server": listing.server, "ssid": Int(listing.shortServerID),
                            "state": listing.state.rawValue, "key": listing.fingerprint,
                            "identity": listing.identity, "minted": minted,
                        ])
                    )
                } else {
                    table.add([
                        listing.iccid, listing.server, "\(listing.shortServerID)", listing.state.rawValue,
                        listing.fingerprint, listing.identity, minted,
                    ])
                }
            }
            if !self.json { Terminal.say(table.text) }
        }

        private static func text(_ microseconds: Int64) -> String {
            Date(timeIntervalSince1970: Double(microseconds) / 1_000_000).ISO8601Format()
        }
    }

    struct Revoke: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Revoke all credentials of a SIM.")
        @OptionGroup var target: SIMCommand.Target

        func run() throws {
            let (records, iccid) = try self.target.open()
            defer { records.close() }
            try reporting { try records.sims.revokeCredentials(of: iccid, by: actor) }
            Terminal.say("credentials of \(iccid) revoked")
        }
    }
}
