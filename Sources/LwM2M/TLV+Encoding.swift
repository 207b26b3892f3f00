extension TLV {
    /// The payload for the path level that `content` belongs to: shortest identifiers and lengths, order as in the tree,
    /// an instance without a wrapper. Throws for a value that 24 bits cannot count, and for one that another format spelled.
    package static func encode(_ content: PathContent) throws(TLVError) -> [UInt8] {
        var writer = TLVWriter()
        switch content {
        case .instances(let instances):
            writer.reserve(instances.reduce(0) { $0 + TLVWriter.size(of: $1) })
            for instance in instances { try writer.append(instance) }
        case .instance(let instance):
            writer.reserve(TLVWriter.size(of: instance.resources))
            for resource in instance.resources { try writer.append(resource) }
        case .resource(let resource):
            try writer.append(resource)
        }
        return writer.bytes
    }
}

/// Appends records. Lengths of enclosing records are computed first, so that every byte is written once.
private struct TLVWriter {
    private(set) var bytes: [UInt8] = []

    mutating func reserve(_ count: Int) { self.bytes.reserveCapacity(count) }

    mutating func append(_ instance: ObjectInstance) throws(TLVError) {
        try self.appendHeader(.objectInstance, id: instance.id, length: Self.size(of: instance.resources))
        for resource in instance.resources { try self.append(resource) }
    }

    mutating func append(_ resource: Resource) throws(TLVError) {
        guard resource.spelling == nil else { throw self.foreign(resource) }
        switch resource.value {
        case .single(let value):
            try self.appendHeader(.resource, id: resource.id, length: value.count)
            self.bytes += value
        case .multiple(let instances):
            try self.appendHeader(.multipleResource, id: resource.id, length: Self.size(of: instances))
            for instance in instances {
                guard instance.spelling == nil else { throw self.foreign(resource) }
                try self.appendHeader(.resourceInstance, id: instance.id, length: instance.bytes.count)
                self.bytes += instance.bytes
            }
        }
    }

    private func foreign(_ resource: Resource) -> TLVError {
        TLVError(.foreignSpelling(id: resource.id), at: self.bytes.count)
    }

    private mutating func appendHeader(_ kind: TLV.Kind, id: UInt16, length: Int) throws(TLVError) {
        guard length <= TLV.maximumLength else { throw TLVError(.valueTooLong, at: self.bytes.count) }
        let lengthBytes = Self.lengthBytes(length)
        let wide: UInt8 = id > 0xFF ? 0b10_0000 : 0
        let short: UInt8 = lengthBytes == 0 ? UInt8(length) : 0
        self.bytes.append(kind.rawValue << 6 | wide | UInt8(lengthBytes) << 3 | short)
        self.appendNumber(Int(id), bytes: id > 0xFF ? 2 : 1)
        self.appendNumber(length, bytes: lengthBytes)
    }

    private mutating func appendNumber(_ number: Int, bytes count: Int) {
        for shift in stride(from: (count - 1) * 8, through: 0, by: -8) {
            self.bytes.append(UInt8(truncatingIfNeeded: number >> shift))
        }
    }

    static func size(of instance: ObjectInstance) -> Int {
        Self.recordSize(id: instance.id, length: Self.size(of: instance.resources))
    }

    static func size(of resources: [Resource]) -> Int {
        resources.reduce(0) { sum, resource in
            let length =
                switch resource.value {
                case .single(let value): value.count
                case .multiple(let instances): Self.size(of: instances)
                }
            return sum + Self.recordSize(id: resource.id, length: length)
        }
    }

    private static func size(of instances: [ResourceInstance]) -> Int {
        instances.reduce(0) { $0 + Self.recordSize(id: $1.id, length: $1.bytes.count) }
    }

    private static func recordSize(id: UInt16, length: Int) -> Int {
        1 + (id > 0xFF ? 2 : 1) + Self.lengthBytes(length) + length
    }

    /// Up to 7 bytes are counted by the type byte itself.
    private static func lengthBytes(_ length: Int) -> Int {
        length < 8 ? 0 : length <= 0xFF ? 1 : length <= 0xFFFF ? 2 : 3
    }
}
