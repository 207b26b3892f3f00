package import Secrets

/// What the operator has written down about one SIM: who it is, how it proves itself, and what it may do.
///
/// The gateway sees records as immutable values; the store behind them is `Records`' business.
package struct SIMRecord: Sendable, Equatable {
    package enum Status: String, Sendable, CaseIterable {
        case active, suspended, retired
    }

    /// What happens when the device names itself otherwise than its record does (T12).
    package enum EndpointPolicy: String, Sendable, CaseIterable {
        /// Another name is refused.
        case match
        /// The record's name goes upstream, whatever the device calls itself: the identity is proven, the name is not.
        case replace
    }

    /// Which accounts the device gets, and whether the plain port serves it.
    package enum Profile: String, Sendable, CaseIterable {
        /// Accounts follow the way the device came.
        case follow
        /// Always `coap` accounts.
        case plain
        /// The plain port refuses this SIM.
        case secure
    }

    /// Where the device has its bootstrap account, as it has shown: the gateway's own knowledge, no field of the operator's.
    package enum BootstrapPlace: Sendable, Equatable, CustomStringConvertible {
        /// It has to be asked before something could be written over it.
        case unknown
        /// This instance of object 0.
        case instance(UInt16)
        /// It was asked and does not say.
        case untold

        package var description: String {
            switch self {
            case .unknown: "unknown"
            case .instance(let instance): "/0/\(instance)"
            case .untold: "not told"
            }
        }
    }

    /// 19 or 20 digits, Luhn-checked: the key of the record.
    package var iccid: String
    package var imsi: String?
    package var imei: String?
    package var msisdn: String?
    package var deviceID: String?
    /// Endpoint client name.
    package var endpoint: String
    package var endpointPolicy: EndpointPolicy
    /// PSK identity of the bootstrap; unique.
    package var identity: PSKIdentity
    /// Pre-shared key of the bootstrap, 16 to 64 bytes; nil for a SIM that only comes plain.
    package var key: Secret?
    /// Sources from which the plain port accepts this SIM.
    package var addresses: [IPPrefix]
    package var status: Status
    package var profile: Profile
    package var group: String?
    package var note: String?
    package var bootstrapPlace: BootstrapPlace

    package init(
        iccid: String,
        imsi: String? = nil,
        imei: String? = nil,
        msisdn: String? = nil,
        deviceID: String? = nil,
        endpoint: String,
        endpointPolicy: EndpointPolicy = .match,
        identity: PSKIdentity,
        key: Secret?,
        addresses: [IPPrefix] = [],
        status: Status = .active,
        profile: Profile = .follow,
        group: String? = nil,
        note: String? = nil,
        bootstrapPlace: BootstrapPlace = .unknown
    ) {
        self.iccid = iccid
        self.imsi = imsi
        self.imei = imei
        self.msisdn = msisdn
        self.deviceID = deviceID
        self.endpoint = endpoint
        self.endpointPolicy = endpointPolicy
        self.identity = identity
        self.key = key
        self.addresses = addresses
        self.status = status
        self.profile = profile
        self.group = group
        self.note = note
        self.bootstrapPlace = bootstrapPlace
    }
}
