internal import CoAP
internal import Gateway
internal import LwM2M
internal import Secrets

/// What a bootstrap server sends, from its datagram to the datagram for the device.
enum RewriterEntry {
    static func run(_ input: UnsafeRawBufferPointer) throws(Finding) {
        var cursor = InputCursor(input)
        guard let setting = Setting(cursor.byte()) else { throw Finding("the setting is no good") }
        var rewriter = setting.rewriter
        let formats: [UInt16] = [11542, 110, 112, 11543, 11544, 1542, 0, 60]
        while !cursor.isAtEnd {
            switch cursor.byte() & 7 {
            case 0: rewriter.reset()
            case 1:
                let form = cursor.byte()
                let path = [LwM2MPath(0), LwM2MPath(1), LwM2MPath(0, 0), LwM2MPath(0, 1), LwM2MPath(1, 0)]
                    .map { $0.segments }
                let request = CoAPRequest(
                    .put, path: path[Int(form >> 3) % path.count], contentFormat: formats[Int(form & 7)],
                    payload: Array(cursor.bytes())
                )
                try Self.take(request, setting, &rewriter)
            case 3:
                let format = cursor.byte()
                try Self.take(pack: Array(cursor.bytes()), format, setting, &rewriter)
            case 4: try Self.discover(Array(cursor.bytes()), rewriter)
            case 5:
                let form = cursor.byte()
                let format = formats[Int(form & 7)]
                let path = form & 8 == 0 ? LwM2MPath(1) : LwM2MPath(2, UInt16(form >> 4))
                _ = try? rewriter.answer(toRead: Array(cursor.bytes()), contentFormat: format, of: path)
            case 6: try Self.release(setting, &rewriter)
            default:
                guard let message = try? CoAPCodec.decode(cursor.bytes()), message.code.isRequest else { continue }
                try Self.take(
                    CoAPRequest(message.code, options: message.options, payload: message.payload), setting, &rewriter
                )
            }
        }
    }

    private static func take(
        _ request: CoAPRequest, _ setting: Setting, _ rewriter: inout AccountRewriter
    ) throws(Finding) {
        guard let path = request.uriPath else { return }
        let operation = BootstrapOperation(
            from: .server, method: request.code.rawValue, path: path, accept: request.accept
        )
        switch operation {
        case .delete(let path): _ = try? rewriter.permitDelete(path)
        case .write(let path) where AccountRewriter.holds(path):
            try? rewriter.hold(path, contentFormat: request.contentFormat, payload: request.payload)
        case .write:
            do {
                let written = try rewriter.rewrite(
                    path: path, contentFormat: request.contentFormat, payload: request.payload, mint: setting.mint
                )
                try Self.check(written, setting)
                // Upstream repeats a write of which it has not got the answer (T30).
                var second = rewriter
                let again = try? second.rewrite(
                    path: path, contentFormat: request.contentFormat, payload: request.payload, mint: setting.mint
                )
                try Finding.check(again?.payload == written.payload, "a repeated write has another result")
                try Self.forward(written)
            } catch let error as Finding {
                throw error
            } catch let error as RewriteRefusal {
                try Finding.check(error.code >> 5 >= 4, "a refusal with code \(error.code)")
                try Finding.check(error.cause != .internal, "the gateway fails: \(error.message)")
                try Finding.check(!(error.isAccount && rewriter.mayFinish), "a refused account may be finished")
            } catch { throw Finding("an error of another kind: \(error)") }
        case .request, .finish, .discover, .read, .other, .refused: break
        }
    }

    /// What goes on to the device is a message, and comes there as it was.
    private static func forward(_ written: RewrittenWrite) throws(Finding) {
        let request = CoAPRequest(
            .put, path: written.path.segments, contentFormat: written.contentFormat, payload: written.payload
        )
        let message = CoAPMessage(
            type: .confirmable, code: .put, messageID: 1, options: request.options, payload: request.payload
        )
        let arrived = CoAPCodec.encode(message).withUnsafeBytes { try? CoAPCodec.decode($0) }
        try Finding.check(arrived == message, "a write does not come through as it was")
    }

    /// What was held goes on as whole instances.
    private static func release(_ setting: Setting, _ rewriter: inout AccountRewriter) throws(Finding) {
        // One for each account that there may be, and no more.
        for _ in 0..<2 * AccountRewriter.maximumAccounts {
            guard let path = rewriter.nextHeld(before: .root) else { return }
            do {
                let written = try rewriter.rewriteHeld(path, mint: setting.mint)
                try Self.check(written, setting)
                try Self.forward(written)
                rewriter.heldWasWritten(path)
            } catch let error as Finding { throw error } catch { rewriter.heldWasRefused(path) }
        }
        try Finding.check(rewriter.nextHeld(before: .root) == nil, "what is held never ends")
    }

    private static func take(
        pack: [UInt8], _ format: UInt8, _ setting: Setting, _ rewriter: inout AccountRewriter
    ) throws(Finding) {
        let formats: [UInt16] = [110, 112, 11544, 11542]
        let number = formats[Int(format & 3)]
        do {
            let written = try rewriter.rewrite(pack: pack, contentFormat: number, mint: setting.mint)
            guard
                let objects = try? PayloadCodec.decodePack(written.payload, ContentFormat(rawValue: number))
            else { throw Finding("a pack for the device cannot be read") }
            let security = objects.first(where: { $0.id == 0 })
            try Self.check(security.map(\.instances) ?? [], written.accounts, setting)
        } catch let error as Finding { throw error } catch let error as RewriteRefusal {
            try Finding.check(error.cause != .internal, "the gateway fails: \(error.message)")
        } catch { throw Finding("an error of another kind: \(error)") }
    }

    /// A server is not told of accounts that it did not write, and the list stays one.
    private static func discover(_ list: [UInt8], _ rewriter: AccountRewriter) throws(Finding) {
        guard let answer = try? rewriter.answer(toDiscover: list) else { return }
        try Finding.check((try? LinkFormat(answer)) != nil || answer.count > LinkFormat.maximumSize, "no list goes on")
    }

    /// Nothing of upstream's goes on where an account leads to the gateway (T42).
    private static func check(_ written: RewrittenWrite, _ setting: Setting) throws(Finding) {
        guard written.path.objectID == 0, let format = written.contentFormat else { return }
        guard let content = try? PayloadCodec.decode(written.payload, ContentFormat(rawValue: format), at: written.path)
        else { throw Finding("what goes on to the device cannot be read") }
        let instances: [ObjectInstance]
        switch content {
        case .instances(let several): instances = several
        case .instance(let one): instances = [one]
        case .resource: throw Finding("a single resource of an account goes on to the device")
        }
        try Self.check(instances, written.accounts, setting)
    }

    private static func check(
        _ instances: [ObjectInstance], _ accounts: [AccountChange], _ setting: Setting
    ) throws(Finding) {
        try Finding.check(instances.count == accounts.count, "not every account is told of")
        for instance in instances {
            guard let account = try? SecurityAccount(instance) else {
                throw Finding("the device gets no valid account")
            }
            guard let change = accounts.first(where: { $0.instanceID == instance.id }) else {
                throw Finding("account \(instance.id) is not told of")
            }
            if change.server == nil, !change.isBootstrapServer {
                try Finding.check(setting.unmatched == .keep, "an account without a rule goes on")
                continue
            }
            try Finding.check(account.isBootstrapServer == change.isBootstrapServer, "the kind of an account changes")
            try Finding.check(setting.deviceURIs.contains(account.uri), "an account leads to \(account.uri)")
            let mode: SecurityMode = setting.arrival == .dtls ? .preSharedKey : .noSec
            try Finding.check(account.securityMode == mode, "an account has mode \(account.securityMode)")
            let key = account.secretKey ?? Secret([UInt8]())
            if setting.arrival == .dtls {
                let shortServerID = account.shortServerID ?? 0
                let expected =
                    change.isBootstrapServer
                    ? Setting.key : setting.mint(server: change.server ?? "", shortServerID: shortServerID).1
                try Finding.check(key == expected, "an account has another key than the gateway's")
            } else {
                try Finding.check(key.count == 0, "an account without security has a key")
            }
        }
    }
}
