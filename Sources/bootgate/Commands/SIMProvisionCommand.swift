internal import ArgumentParser
internal import Gateway
internal import LwM2M
internal import Records

extension SIMCommand {
    /// `bootgate sim provision`: the one command that shows a key that is already in use, because a factory needs it.
    struct Provision: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "The factory bootstrap data of one device, with its key.",
            discussion: """
                The bootstrap account as one instance of the Security object: where the gateway is, and what the device \
                proves itself with. The formats tlv, senml-cbor and senml-json are a document for /0; leshan, anjay and \
                wakaama are the command line of that client. A SIM with the profile plain gets a NoSec account without \
                a key.
                """
        )

        enum Format: String, CaseIterable, ExpressibleByArgument {
            case table, tlv
            case senMLCBOR = "senml-cbor"
            case senMLJSON = "senml-json"
            case leshan, anjay, wakaama
        }

        @OptionGroup var target: Target
        @Option(help: "table, tlv, senml-cbor, senml-json, leshan, anjay or wakaama.") var format = Format.table
        @Option(help: ArgumentHelp("Instance of the Security object.", valueName: "id")) var instance: UInt16 = 0
        @Flag(help: "Documents as hexadecimal digits.") var hex = false
        @Flag(help: "The table as JSON, one object a line.") var json = false

        func validate() throws {
            // 65535 is reserved: it stands for no instance.
            guard self.instance < .max else { throw ValidationError("--instance takes a number from 0 to 65534") }
            guard !self.json || self.format == .table else { throw ValidationError("--json is for the table") }
            let isBinary = self.format == .tlv || self.format == .senMLCBOR
            guard !self.hex || isBinary || self.format == .senMLJSON else {
                throw ValidationError("--hex is for tlv, senml-cbor and senml-json")
            }
            guard self.hex || !isBinary || !Terminal.isOutputTerminal else {
                throw ValidationError(
                    "\(self.format.rawValue) is binary and no use on a terminal; redirect it, or add --hex")
            }
        }

        func run() throws {
            let account = try self.account()
            if account.credential != nil {
                Terminal.complain(
                    "the output holds the key of SIM \(self.target.iccid): whoever reads it can be this device")
            }
            switch self.format {
            case .table where self.json:
                for row in account.rows {
                    Terminal.say(JSONText.line(["path": row[0], "resource": row[1], "value": row[2]]))
                }
            case .table:
                var table = Table(["PATH", "RESOURCE", "VALUE"])
                for row in account.rows { table.add(row) }
                Terminal.say(table.text)
            case .tlv: try self.show(account, .tlv)
            case .senMLCBOR: try self.show(account, .senMLCBOR)
            case .senMLJSON: try self.show(account, .senMLJSON)
            case .leshan: try self.show(account, .leshan)
            case .anjay: try self.show(account, .anjay)
            case .wakaama: try self.show(account, .wakaama)
            }
        }

        private func account() throws -> FactoryAccount {
            let configuration = try self.target.config.load()
            let (records, iccid) = try self.target.open()
            defer { records.close() }
            guard let record = try reporting({ try records.sims.record(iccid) }) else {
                throw fail(.badData, "there is no SIM \(iccid); `bootgate sim list` shows those that there are")
            }
            if record.status != .active {
                Terminal.complain("warning: SIM \(iccid) is \(record.status.rawValue); the gateway refuses its device")
            }
            let account: FactoryAccount
            do {
                account = try FactoryAccount(
                    of: record,
                    leadingTo: configuration.gateway.bootstrap.account,
                    instanceID: self.instance
                )
            } catch {
                switch error {
                case .noKey:
                    throw fail(
                        .badData,
                        "SIM \(iccid) has no key; set one with `bootgate sim set \(iccid) key=generate`, or profile=plain"
                    )
                case .noSecureURI:
                    throw fail(.badConfiguration, "bootstrap.account has no secure address, and SIM \(iccid) needs it")
                case .noPlainURI:
                    throw fail(.badConfiguration, "bootstrap.account has no plain address, and SIM \(iccid) needs it")
                }
            }
            // Before the key is shown: nobody sees it without a record of that.
            if account.credential != nil {
                try reporting { try records.sims.noteProvision(iccid, format: self.format.rawValue, by: actor) }
            }
            return account
        }

        private func show(_ account: FactoryAccount, _ format: ContentFormat) throws {
            let document: [UInt8]
            do { document = try account.document(format) } catch {
                throw fail(.internal, "the account has no form in \(format.name): \(error)")
            }
            if self.hex { return Terminal.say(FactoryAccount.hexadecimal(document)) }
            // JSON is text, and lines are what readers of text take.
            Terminal.put(format == .senMLJSON ? document + [UInt8(ascii: "\n")] : document)
        }

        private func show(_ account: FactoryAccount, _ client: ClientCommandLine) throws {
            let line: String
            do { line = try client.line(account) } catch { throw fail(.badData, error.message) }
            if let warning = client.warning(account) { Terminal.complain("warning: \(warning)") }
            Terminal.say(Terminal.printable(line))
        }
    }
}
