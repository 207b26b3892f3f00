import CoAP
import Secrets
import Timing

@testable import Gateway

/// How bootstraps ended.
struct SimulatedOutcomes {
    var finished = 0
    var failed: [FailureCause: Int] = [:]
    var registered = 0

    static func += (left: inout Self, right: Self) {
        left.finished += right.finished
        left.registered += right.registered
        for (cause, count) in right.failed { left.failed[cause, default: 0] += count }
    }
}

/// What is promised, as it looks from outside. Each check breaks the life off with the first promise that is broken.
extension SimulatedGateway {
    /// What the checks remember of an association.
    struct Record {
        /// Bootstraps that were asked for, and that have ended.
        var begun = 0
        var ended = 0
        /// Message IDs of the requests that went to the device.
        var requests: Set<UInt16> = []
        /// Tokens of the writes and deletes that went to the device in this bootstrap.
        var commands: [UInt64] = []
        /// What was minted in this bootstrap.
        var minted: [PSKIdentity] = []
        var grants: [Int64] = []
        var isFinishAtDevice = false
        /// Token of the newest message to the device.
        var newest: UInt64?
        /// The server's sessions that this bootstrap has got commands of.
        var commandsOf: Set<Int?> = []
    }

    /// After every step of an association.
    func check(_ association: Association) {
        let session = association.session
        let isRunning = session.bootstrap?.isRunning ?? false
        let record = association.record
        if record.begun != record.ended + (isRunning ? 1 : 0) {
            self.world.fail("of \(record.begun) bootstraps \(record.ended) have ended, running: \(isRunning)")
        }
        if !isRunning, session.lease != nil { self.world.fail("a lease outlives its bootstrap") }
        if !isRunning, session.bootstrap?.deadline != nil { self.world.fail("a timer outlives its bootstrap") }
        if !isRunning, !association.isEnding, session.deviceExchange != nil {
            self.world.fail("a command outlives its bootstrap")
        }
        guard let lease = session.lease else { return }
        if self.pool.machine.leases[lease]?.owner.iccid != session.record.iccid,
            self.pool.machine.leases[lease] != nil
        {
            self.world.fail("device \(association.address.device) has the lease of another")
        }
        if self.byLease[lease] !== association { self.world.fail("a lease belongs to two sessions") }
    }

    /// A message goes out to the device.
    func checkMessage(_ bytes: [UInt8], to association: Association) {
        guard let message = bytes.withUnsafeBytes({ try? CoAPCodec.decode($0) }), message.code.isRequest,
            association.record.requests.insert(message.messageID).inserted
        else { return }
        association.record.newest = Self.number(message.token)
        let device = self.devices[association.address.device]
        let record = self.store.records[device.index]
        if device.manner != .good || record.status != .active {
            self.world.fail("device \(device.index), which was refused, is told something")
        }
        let request = CoAPRequest(message.code, options: message.options, payload: message.payload)
        if message.code == .post, request.uriPath == ["bs"] {
            self.checkFinish(association, device)
        } else if message.code == .put || message.code == .delete {
            association.record.commands.append(Self.number(message.token))
        }
    }

    static func number(_ token: CoAPToken) -> UInt64 { token.bytes.reduce(0) { $0 << 8 | UInt64($1) } }

    /// Finish goes out: everything before it must have happened.
    private func checkFinish(_ association: Association, _ device: SimulatedDevice) {
        let record = association.record
        self.world.note("session \(association.session.id) passes Finish")
        association.record.isFinishAtDevice = true
        self.finishing.formUnion(record.minted)
        if !record.commands.allSatisfy({ device.answered.contains($0) }) {
            self.world.fail("Finish overtakes a write")
        }
        for identity in record.minted where !self.store.committed.contains(identity) {
            self.world.fail("Finish goes out before a credential is durable")
        }
        for grant in record.grants where !self.store.committedGrants.contains(grant) {
            self.world.fail("Finish goes out before a grant is durable")
        }
        guard let lease = association.session.lease, let connection = self.pool.connection(of: lease),
            let session = self.pool.server(of: connection)?.session
        else {
            self.world.fail("Finish goes out without a server")
            return
        }
        if device.mayHoldDiscarded && record.minted.isEmpty && record.grants.isEmpty {
            self.world.fail("Finish goes out, and what the device holds was discarded")
        }
        // What a server sent for a bootstrap that its device has given up looks like any other command when it comes late.
        guard record.commandsOf == [session.number] else { return }
        if !session.sent.contains(.finish) { self.world.fail("nobody has sent this Finish") }
        if session.isWrong { self.world.fail("Finish goes out although an account was refused") }
        if !session.accepted.isSubset(of: device.written[session.number] ?? []) {
            self.world.fail("the server was told of writes that the device does not have")
        }
    }

    /// The device has answered a command. With 4.06 it has not finished; what it got may have to go.
    func checkAnswer(_ response: CoAPResponse, of association: Association) {
        guard association.record.isFinishAtDevice else { return }
        association.record.isFinishAtDevice = false
        if response.code == .notAcceptable { self.finishing.subtract(association.record.minted) }
    }

    /// The device's request goes upstream.
    func checkAsking(_ request: CoAPRequest, of association: Association) {
        let device = self.devices[association.address.device]
        self.noteOvertaken(association)
        association.record.commands = []
        association.record.minted = []
        association.record.grants = []
        association.record.isFinishAtDevice = false
        association.record.commandsOf = []
        if device.manner != .good { self.world.fail("device \(device.index), which is refused, is heard upstream") }
        if request.uriQuery?.contains("ep=meter-\(device.index)") != true {
            self.world.fail("device \(device.index) goes upstream by another's name")
        }
    }

    /// Commands go out one at a time, so only the newest may still be on its way.
    private func noteOvertaken(_ association: Association) {
        let device = self.devices[association.address.device]
        if let newest = association.record.newest, !device.answered.contains(newest) { device.mayBeOvertaken = true }
    }

    /// A command of the server has come to a session.
    func checkCommand(meant: SimulatedServer.Address?, for association: Association) {
        if meant?.device != association.address.device {
            self.world.fail("a command for device \(meant?.device ?? -1) comes to device \(association.address.device)")
        }
        association.record.commandsOf.insert(meant?.session)
    }

    func checkDiscard(_ identities: [PSKIdentity], of association: Association) {
        let device = self.devices[association.address.device]
        if !device.mayBeOvertaken, identities.contains(where: { device.owned.contains($0) }) {
            self.world.fail("credentials are discarded that the device has finished with")
        }
        device.mayHoldDiscarded = true
    }

    func ended(_ cause: FailureCause?, _ association: Association) {
        association.record.ended += 1
        self.world.note("a bootstrap of session \(association.session.id) ends: \(cause?.rawValue ?? "finished")")
        guard let cause else {
            self.outcomes.finished += 1
            self.devices[association.address.device].mayHoldDiscarded = false
            if !self.devices[association.address.device].finished.contains(association.number) {
                self.world.fail("finished, but not for the device")
            }
            return
        }
        self.outcomes.failed[cause, default: 0] += 1
    }

    /// A handshake with a one-time key succeeds.
    func checkRegistration(_ credential: OneTimeCredential, _ record: SIMRecord, of address: SimulatedAddress) {
        self.outcomes.registered += 1
        if record.iccid != self.devices[address.device].record.iccid || credential.iccid != record.iccid {
            self.world.fail("device \(address.device) registers with another's credential")
        }
        if !self.devices[address.device].owned.contains(credential.identity) {
            self.world.fail("device \(address.device) registers with what it never got")
        }
    }

    /// Nobody has such a credential (any more).
    func checkStranger(_ identity: PSKIdentity, at address: SimulatedAddress) {
        let device = self.devices[address.device]
        guard device.owned.contains(identity), self.store.entries[identity] == nil, !device.mayBeOvertaken else {
            return
        }
        self.world.fail("device \(device.index) has finished with a credential that nobody knows")
    }

    // MARK: - The end

    /// Nothing is left to happen: nothing may be left over.
    func checkEnd(_ servers: [SimulatedServer]) {
        if !self.associations.isEmpty { self.world.fail("sessions are left over") }
        if !self.byLease.isEmpty { self.world.fail("leases of sessions are left over") }
        if self.hasOrders { self.world.fail("orders are left over") }
        if !self.pool.isQuiet { self.world.fail("leases, exchanges or timers of the pool are left over") }
        if !self.devices.allSatisfy(\.isQuiet) { self.world.fail("exchanges of devices are left over") }
        if !servers.allSatisfy(\.isQuiet) { self.world.fail("exchanges of servers are left over") }
        for (identity, entry) in self.store.entries {
            let device = self.devices.first { $0.record.iccid == entry.credential.iccid }
            switch entry.state {
            case .active:
                if !self.store.shaken.contains(identity) { self.world.fail("active without a handshake") }
                if device?.owned.contains(identity) != true { self.world.fail("active, but never the device's") }
            case .pending:
                if !self.store.excused.contains(identity), !self.finishing.contains(identity) {
                    self.world.fail("a credential of a failed bootstrap is left over")
                }
            case .replaced, .revoked, .expired: break
            }
        }
    }
}
