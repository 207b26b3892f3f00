internal import CoAP
internal import Timing

/// Orders that devices bootstrap again, from the store to the registrations that carry them out.
extension DeviceSessions {
    /// Where a device keeps the account of a server.
    struct ServerPlace: Hashable {
        let iccid: String
        let shortServerID: UInt16
    }

    /// Looks for the open orders of one SIM, or (nil) of all. An order that is found again although it was carried out is
    /// removed once more.
    func followOrders(iccid: String?) async {
        guard let store = self.environment.rebootstraps else { return }
        let orders: [RebootstrapOrder]
        do {
            orders = try await store.rebootstrapOrders(iccid: iccid)
        } catch {
            self.failures.report(.storeUnavailable, iccid: iccid, peer: nil, now: self.environment.now())
            return
        }
        let now = self.environment.now()
        let open = Dictionary(orders.map { ($0.iccid, $0) }) { $1 }
        for known in iccid.map({ [$0] }) ?? Array(self.orders.keys) where open[known] == nil {
            self.withdrawOrders(of: known, now: now)
        }
        for order in orders where self.orders[order.iccid] != order {
            if self.settledOrders.value(for: order.id) != nil {
                self.settle(order)
            } else {
                self.orders[order.iccid] = order
                for registration in self.registrations[order.iccid] ?? [] {
                    self.give(order, to: registration, isAwake: false, now: now)
                }
            }
        }
        self.endTurn()
    }

    private func give(_ order: RebootstrapOrder, to registration: Registration, isAwake: Bool, now: Instant) {
        var work = self.beginWork(now: now)
        self.give(order, to: registration, isAwake: isAwake, &work)
        self.carryOut(consume work, for: registration)
    }

    private func give(
        _ order: RebootstrapOrder, to registration: Registration, isAwake: Bool, _ work: inout Work
    ) {
        let place = ServerPlace(iccid: order.iccid, shortServerID: registration.shortServerID)
        registration.relay.order(
            order, shortServerID: place.shortServerID, instance: self.serverInstances.value(for: place),
            isAwake: isAwake, into: &work.registration
        )
    }

    /// A registration that begins or goes on while its SIM has an open order.
    func remindOfOrder(_ registration: Registration, _ work: inout Work) {
        guard !self.orders.isEmpty, let order = self.orders[registration.iccid], registration.relay.isRegistered,
            registration.relay.openOrder != order
        else { return }
        self.give(order, to: registration, isAwake: true, &work)
    }

    /// Sends the gateway's own request, unless another registration of the SIM has one at the device: one trigger is enough.
    func askDevice(_ request: CoAPRequest, _ registration: Registration, _ work: inout Work) {
        let others = self.registrations[registration.iccid] ?? []
        guard let session = registration.session,
            !others.contains(where: { $0 !== registration && $0.relay.isErrandAtDevice })
        else {
            registration.relay.postponeErrand()
            return
        }
        let exchange = session.layer.send(request, now: work.now, into: &work.events)
        registration.relay.errandSent(asDevice: exchange)
    }

    /// The device has said its last word about an order, or has done what it asks for.
    func settle(_ order: RebootstrapOrder) {
        if self.orders[order.iccid]?.id == order.id {
            self.withdrawOrders(of: order.iccid, now: self.environment.now())
        }
        self.settledOrders.insert(true, for: order.id)
        guard let store = self.environment.rebootstraps else { return }
        Task {
            do {
                try await store.settle(order)
            } catch {
                // The row is not taken for a new order, and goes when it is seen again.
                self.failures.report(.storeUnavailable, iccid: order.iccid, peer: nil, now: self.environment.now())
            }
        }
    }

    private func withdrawOrders(of iccid: String, now: Instant) {
        guard self.orders.removeValue(forKey: iccid) != nil else { return }
        for registration in self.registrations[iccid] ?? [] where registration.relay.openOrder != nil {
            var work = self.beginWork(now: now)
            registration.relay.withdrawOrder(into: &work.registration)
            self.carryOut(consume work, for: registration)
        }
    }

    /// A bootstrap has come to its end. If it began after the order, that is what the order wanted.
    func noteBootstrap(of session: DeviceSession, _ work: inout Work) {
        guard let order = self.orders[session.record.iccid], order.orderedAt <= session.bootstrapRequestedAt else {
            return
        }
        var event = AuditEvent(
            .simChanged, time: work.wallClock, iccid: order.iccid, endpoint: session.record.endpoint,
            peer: session.peer.key.address.description, session: session.id
        )
        event.detail = [
            .init("action", .text("rebootstrap")), .init("by", .text("gateway")),
            .init("outcome", .text("bootstrapped by itself")),
        ]
        self.audits.append(event)
        self.settle(order)
    }

    // MARK: - What devices answer

    /// A response that is no bootstrap's: the server's, or to a request of the gateway's own.
    func deviceAnswered(
        _ exchange: MessageLayer.ExchangeID, _ response: CoAPResponse, of session: DeviceSession, _ work: inout Work
    ) {
        guard let registration = session.registration,
            !registration.relay.errandAnswered(
                exchange, response, wallClock: work.wallClock, into: &work.registration
            )
        else { return }
        registration.relay.deviceAnswered(exchange, response, into: &work.registration)
    }

    func deviceFailed(
        _ exchange: MessageLayer.ExchangeID, _ failure: MessageLayer.Failure, of session: DeviceSession,
        _ work: inout Work
    ) {
        guard let registration = session.registration,
            !registration.relay.errandFailed(exchange, failure, wallClock: work.wallClock, into: &work.registration)
        else { return }
        registration.relay.deviceFailed(exchange, failure, into: &work.registration)
    }
}
