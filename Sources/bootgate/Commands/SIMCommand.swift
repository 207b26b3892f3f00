internal import ArgumentParser
internal import Foundation
internal import Gateway
internal import Records
internal import Secrets

/// `bootgate sim`: the SIM records. Works on the store directly, while a gateway runs or not.
struct SIMCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sim",
        abstract: "Add, change, list and import SIM records, and provision devices.",
        subcommands: [
            Import.self, Add.self, Show.self, List.self, Set.self, Suspend.self, Resume.self, Retire.self,
            Remove.self, Rebootstrap.self, Trace.self, Provision.self,
        ]
    )

    /// The fields of a record, as `FIELD=VALUE`. `key=-` reads the key from standard input, so that it stays out of the
    /// list of processes and the shell's history.
    struct Fields: ParsableArguments {
        @Argument(
            help: ArgumentHelp(
                "Fields of the record; key takes hexadecimal digits, `generate`, or `-` for standard input.",
                valueName: "field=value"
            )
        )
        var fields: [String]

        func values() throws -> SIMFields {
            var fields = try reporting { try SIMFields(arguments: self.fields) }
            if fields[.key] == "-" {
                // Nothing is no key: an empty value would leave the one that the SIM has, and look as if it had changed.
                guard let line = readLine(strippingNewline: true), !line.isEmpty else {
                    throw fail(.badData, "no key came on standard input; nothing was changed")
                }
                fields[.key] = line
            }
            return fields
        }
    }

    /// The one record that a command is about.
    struct Target: ParsableArguments {
        @Argument(help: "19 or 20 digits.") var iccid: String
        @OptionGroup var config: ConfigurationOption

        func open() throws -> (Records, ICCID) {
            let iccid = try reporting { try ICCID(self.iccid) }
            return (try self.config.openRecords(), iccid)
        }

        func setStatus(_ status: SIMRecord.Status) throws {
            let (records, iccid) = try self.open()
            defer { records.close() }
            let (record, changed) = try reporting { try records.sims.setStatus(status, of: iccid, by: actor) }
            Terminal.say("\(iccid) is \(changed ? "now " : "")\(record.status.rawValue)")
        }
    }

    struct Add: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Add one record.", usage: "bootgate sim add [--config <file>] iccid=<digits> [<field>=<value> …]"
        )
        @OptionGroup var fields: Fields
        @OptionGroup var config: ConfigurationOption

        func run() throws {
            let fields = try self.fields.values()
            let records = try self.config.openRecords()
            defer { records.close() }
            SIMCommand.tell(try reporting { try records.sims.add(fields, by: actor) }, "added")
        }
    }

    struct Set: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Change fields of one record; an empty value clears one, though never the key.")
        @OptionGroup var target: Target
        @OptionGroup var fields: Fields

        func run() throws {
            let fields = try self.fields.values()
            let (records, iccid) = try self.target.open()
            defer { records.close() }
            SIMCommand.tell(try reporting { try records.sims.set(iccid, fields, by: actor) }, "changed")
        }
    }

    struct Show: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Show one record.")
        @OptionGroup var target: Target
        @Flag(help: "As JSON.") var json = false

        func run() throws {
            let (records, iccid) = try self.target.open()
            defer { records.close() }
            guard let record = try reporting({ try records.sims.record(iccid) }) else {
                throw fail(.badData, "there is no SIM \(iccid); `bootgate sim list` shows those that there are")
            }
            let fields = SIMCommand.fields(of: record, hasKey: record.key != nil)
            if self.json {
                Terminal.say(JSONText.line(Dictionary(fields) { first, _ in first }))
            } else {
                for (name, value) in fields where !value.isEmpty {
                    let gap = String(repeating: " ", count: max(1, 16 - name.count))
                    Terminal.say(name + gap + Terminal.printable(value))
                }
            }
        }
    }

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List records in the order of their ICCID.")
        @Option(help: "Only with this status: active, suspended or retired.") var status: String?
        @Option(help: "Only of this group.") var group: String?
        @Option(help: "Only where a name or number holds this text.") var text: String?
        @Option(help: "Begin behind this ICCID.") var after: String?
        @Option(help: "At most so many, up to 10000.") var limit = 100
        @Flag(help: "One JSON object a line.") var json = false
        @OptionGroup var config: ConfigurationOption

        func validate() throws {
            guard self.status == nil || self.known != nil else {
                throw ValidationError("--status takes active, suspended or retired")
            }
            guard (1...10_000).contains(self.limit) else {
                throw ValidationError("--limit is \(self.limit); expected 1 to 10000")
            }
        }

        private var known: SIMRecord.Status? { self.status.flatMap(SIMRecord.Status.init(rawValue:)) }

        func run() throws {
            var query = SIMQuery()
            query.status = self.known
            query.group = self.group
            query.text = self.text
            query.after = self.after
            query.limit = self.limit
            let records = try self.config.openRecords()
            defer { records.close() }
            let listings = try reporting { try records.sims.list(query) }
            var table = Table(["ICCID", "ENDPOINT", "IDENTITY", "STATUS", "PROFILE", "KEY", "GROUP"])
            for listing in listings {
                let record = listing.record
                if self.json {
                    let fields = SIMCommand.fields(of: record, hasKey: listing.hasKey)
                    Terminal.say(JSONText.line(Dictionary(fields) { first, _ in first }))
                } else {
                    table.add([
                        record.iccid, record.endpoint, record.identity.text ?? "(bytes)", record.status.rawValue,
                        record.profile.rawValue, listing.hasKey ? "yes" : "no", record.group ?? "",
                    ])
                }
            }
            if !self.json { Terminal.say(table.text) }
            if listings.count == self.limit, let last = listings.last {
                Terminal.complain("more with --after \(last.record.iccid)")
            }
        }
    }

    struct Suspend: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Close its sessions, revoke its credentials, refuse it.")
        @OptionGroup var target: Target
        func run() throws { try self.target.setStatus(.suspended) }
    }

    struct Resume: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Let it in again; it has to bootstrap anew.")
        @OptionGroup var target: Target
        func run() throws { try self.target.setStatus(.active) }
    }

    struct Retire: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "As suspend, and its handshakes fail in silence.")
        @OptionGroup var target: Target
        func run() throws { try self.target.setStatus(.retired) }
    }

    struct Remove: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Delete the record and revoke its credentials.")
        @OptionGroup var target: Target

        func run() throws {
            let (records, iccid) = try self.target.open()
            defer { records.close() }
            try reporting { try records.sims.remove(iccid, by: actor) }
            Terminal.say("\(iccid) removed")
        }
    }

    struct Rebootstrap: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Ask its device to bootstrap again, at its next contact if it sleeps.",
            discussion: "Leaves an order that a running gateway carries out; the journal says what came of it."
        )
        @OptionGroup var target: Target

        func run() throws {
            let (records, iccid) = try self.target.open()
            defer { records.close() }
            try reporting { try records.sims.rebootstrap(iccid, by: actor) }
            Terminal.say("\(iccid) is ordered to bootstrap again")
        }
    }

    struct Trace: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Log every message of its device and of the servers behind it, for a while.",
            discussion: """
                A running gateway writes an entry of the level debug for each message, whatever `log.level` is: direction, \
                type, code, message ID, length of the token, path and size. Never tokens, queries, payloads or keys.
                """
        )
        @OptionGroup var target: Target
        @Option(name: .customLong("for"), help: "For so long: 30s, 10m, 2h; 7d at most.") var duration = "10m"
        @Flag(help: "No more.") var off = false

        func validate() throws {
            guard let duration = Notation.duration(self.duration), duration >= .seconds(1),
                duration <= .seconds(7 * 86_400)
            else { throw ValidationError("--for takes a time from 1s to 7d, such as 10m") }
        }

        func run() throws {
            let (records, iccid) = try self.target.open()
            defer { records.close() }
            if self.off {
                let wasOn = try reporting { try records.sims.endTrace(iccid, by: actor) }
                return Terminal.say(wasOn ? "\(iccid) is no longer traced" : "\(iccid) was not traced")
            }
            let duration = Notation.duration(self.duration) ?? .seconds(600)
            try reporting { try records.sims.trace(iccid, for: duration, by: actor) }
            Terminal.say("\(iccid) is traced for \(self.duration), in the log of `bootgate serve`")
        }
    }

    // MARK: - Output

    private static func tell(_ result: SIMStore.Result, _ verb: String) {
        Terminal.say("\(result.record.iccid) \(verb)")
        if let key = result.generatedKey {
            // The one time that a key is shown: nobody could put it into the device otherwise.
            let text = key.withUnsafeBytes { $0.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined() }
            Terminal.say("key \(text)  (shown this once)")
        }
        for warning in result.warnings { Terminal.complain("warning: \(warning)") }
    }

    fileprivate static func fields(of record: SIMRecord, hasKey: Bool) -> [(String, String)] {
        [
            ("iccid", record.iccid), ("imsi", record.imsi ?? ""), ("imei", record.imei ?? ""),
            ("msisdn", record.msisdn ?? ""), ("device-id", record.deviceID ?? ""), ("endpoint", record.endpoint),
            ("endpoint-policy", record.endpointPolicy.rawValue), ("identity", record.identity.text ?? "(bytes)"),
            ("key", hasKey ? "set" : "none"),
            ("address", record.addresses.map(\.description).joined(separator: " ")),
            ("status", record.status.rawValue), ("profile", record.profile.rawValue), ("group", record.group ?? ""),
            ("note", record.note ?? ""),
        ]
    }
}
