// SPDX-License-Identifier: Apache-2.0
// Options are parsed from left to right, each with what is known by then: "-r rs:http -t vip:80" has no
// protocol to look "http" up for, "-M 24 -t [fd00::1]:80" reads 24 as an IPv4 mask. The first problem ends it, so the
// order is part of the interface.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "base/check.h"
#include "ipvs/text/request.h"
#include "ipvs/text/values.h"
#include "ipvs/text/word_reader.h"

namespace sluice::ipvs::text {
namespace {

constexpr std::int64_t kTimeoutMax_s = 31 * 24 * 3600;
constexpr std::uint32_t kPersistenceDefault_s = 360;
constexpr std::int64_t kSignedMax = 0x7fffffff;
constexpr std::size_t kInterfaceNameMax = 15;
constexpr std::size_t kSchedulerFlagsMax = 127;  // the rest of a longer list is ignored

using Problem = std::optional<Refusal>;

class LineParser {
 public:
  LineParser(const std::string& program, const std::vector<std::string>& arguments, Names& names)
      : program_(program), reader_(arguments), names_(names) {
    request_.virtual_server.key.protocol = 0;  // until a service is named, ports have no names
    request_.virtual_server.scheduler.clear();
    request_.virtual_server.persistence_mask = whole_client_mask(Family::kIPv4);
  }

  Parsed parse() {
    if (auto problem = read_all()) return *std::move(problem);
    return std::move(request_);
  }

 private:
  Problem read_all() {
    const WordReader::Event first = reader_.next();
    if (first.kind != WordReader::Event::Kind::kOption || !first.word->is_command) return usage_refusal(program_);
    if (auto problem = take_command(first)) return problem;
    if (request_.command == Command::kHelp || request_.command == Command::kVersion) return std::nullopt;
    WordReader::Event event = reader_.next();
    for (; event.kind == WordReader::Event::Kind::kOption; event = reader_.next()) {
      if (auto problem = take_option(event)) return problem;
    }
    if (event.kind == WordReader::Event::Kind::kError) {
      return Refusal{255, fmt::format("{}: {}", reader_.last_word(), event.problem), false};
    }
    if (auto problem = take_leftovers()) return problem;
    if (auto problem = take_scheduler_flags()) return problem;
    return check_request(request_);
  }

  Problem take_command(const WordReader::Event& event) {
    request_.command = event.word->command;
    const bool starts = request_.command == Command::kStartDaemon;
    if (!starts && request_.command != Command::kStopDaemon) return std::nullopt;
    if (event.argument == "master") {
      request_.daemon.role = SyncRole::kMaster;
    } else if (event.argument == "backup") {
      request_.daemon.role = SyncRole::kBackup;
    } else {
      return refusal(starts ? "illegal start-daemon parameter specified" : "illegal start_daemon specified");
    }
    return std::nullopt;
  }

  Problem take_option(const WordReader::Event& event) {
    if (event.word->is_command) return refusal(fmt::format("invalid option `{}'", reader_.last_word()));
    const Option option = event.word->option;
    if (option != Option::kNone && request_.options.has(option)) {
      return refusal(fmt::format("multiple '{}' options specified", name_of(option)));
    }
    request_.options.add(option);
    if (!event.argument) return take_flag(*event.word);
    return take_value(*event.word, *event.argument);
  }

  Problem take_flag(const Word& word) {
    VirtualServer& server = request_.virtual_server;
    RealServer& real = request_.real_server;
    switch (word.option) {
      case Option::kPersistent:
        server.flags |= kPersistentFlag;
        server.persistence_timeout_s = kPersistenceDefault_s;
        break;
      case Option::kOnePacket:
        server.flags |= kOnePacketFlag;
        break;
      case Option::kForward:
        real.method = word.short_name == 'm'   ? ForwardMethod::kMasquerade
                      : word.short_name == 'i' ? ForwardMethod::kTunnel
                                               : ForwardMethod::kDirectRoute;
        break;
      case Option::kTunNocsum:
        real.tunnel.checksum = TunnelChecksum::kNone;
        break;
      case Option::kTunCsum:
        real.tunnel.checksum = TunnelChecksum::kChecksum;
        break;
      case Option::kTunRemcsum:
        real.tunnel.checksum = TunnelChecksum::kRemoteOffload;
        break;
      case Option::kNone:
        if (word.short_name == '6') return take_ipv6();
        break;
      default:
        break;  // only whether it was given matters
    }
    return std::nullopt;
  }

  Problem take_ipv6() {
    if (request_.virtual_server.key.firewall_mark == 0) return refusal("-6 used before -f\n");
    request_.virtual_server.key.family = Family::kIPv6;
    request_.virtual_server.persistence_mask = whole_client_mask(Family::kIPv6);
    return std::nullopt;
  }

  Problem take_value(const Word& word, const std::string& text) {
    VirtualServer& server = request_.virtual_server;
    RealServer& real = request_.real_server;
    SyncDaemon& daemon = request_.daemon;
    switch (word.option) {
      case Option::kService:
        return take_service(word, text);
      case Option::kServer:
        return take_server(text);
      case Option::kScheduler:
        server.scheduler = text.substr(0, kSchedulerNameMax);
        return std::nullopt;
      case Option::kPersistent:
        server.flags |= kPersistentFlag;
        return take_timeout(text, 1, server.persistence_timeout_s);
      case Option::kNetmask:
        return take_mask(text);
      case Option::kPersistenceEngine:
        server.persistence_engine = text.substr(0, kPersistenceEngineNameMax);
        return std::nullopt;
      case Option::kSchedulerFlags:
        scheduler_flags_ = text.substr(0, kSchedulerFlagsMax);
        return std::nullopt;
      case Option::kWeight:
        return take_number(text, {0, kSignedMax, "illegal weight specified"}, real.weight);
      case Option::kUpperThreshold:
        return take_number(text, {0, kSignedMax, "illegal u_threshold specified"}, real.upper_threshold);
      case Option::kLowerThreshold:
        return take_number(text, {0, kSignedMax, "illegal l_threshold specified"}, real.lower_threshold);
      case Option::kTunType:
        return take_tunnel_type(text);
      case Option::kTunPort:
        return take_number(text, {1, 65535, "illegal tunnel port specified"}, real.tunnel.port);
      case Option::kMcastInterface:
        daemon.interface = text.substr(0, kInterfaceNameMax);
        return std::nullopt;
      case Option::kSyncId:
        return take_number(text, {0, 255, "illegal syncid specified"}, daemon.sync_id);
      case Option::kSyncMaxlen:
        return take_number(text, {1, 65507, "illegal sync-maxlen specified"}, daemon.message_bytes_max);
      case Option::kMcastPort:
        return take_number(text, {1, 65535, "illegal mcast-port specified"}, daemon.port);
      case Option::kMcastTtl:
        return take_number(text, {1, 255, "illegal mcast-ttl specified"}, daemon.ttl);
      case Option::kMcastGroup:
        return take_group(text);
      default:
        SLUICE_CHECK(false);
    }
    return std::nullopt;
  }

  struct Range {
    std::int64_t min;
    std::int64_t max;
    const char* message;
  };
  template <typename Integer>
  Problem take_number(const std::string& text, const Range& range, Integer& value) {
    const auto number = parse_number(text, range.min, range.max);
    if (!number) return refusal(range.message);
    value = static_cast<Integer>(*number);
    return std::nullopt;
  }

  Problem take_timeout(const std::string& text, std::int64_t min, std::uint32_t& value) {
    const auto number = parse_number(text, min, kTimeoutMax_s);
    if (!number) return refusal(fmt::format("invalid timeout value `{}' specified", text));
    value = static_cast<std::uint32_t>(*number);
    return std::nullopt;
  }

  Problem take_service(const Word& word, const std::string& text) {
    VirtualServerKey& key = request_.virtual_server.key;
    if (word.short_name == 'f') {
      const auto mark = parse_number(text, 1, 0xffffffff);
      if (!mark) return refusal(fmt::format("invalid fwmark value `{}' specified", text));
      key = VirtualServerKey::of_mark(Family::kIPv4, static_cast<std::uint32_t>(*mark));
      return std::nullopt;
    }
    key.protocol = word.short_name == 't' ? IPPROTO_TCP : word.short_name == 'u' ? IPPROTO_UDP : IPPROTO_SCTP;
    const auto parsed = parse_address(text, key.protocol, names_);
    if (!parsed) return refusal("illegal virtual server address[:port] specified");
    key.family = parsed->family;
    key.address = parsed->address;
    key.port = parsed->port.value_or(0);
    if (parsed->family == Family::kIPv6) request_.virtual_server.persistence_mask = whole_client_mask(Family::kIPv6);
    return std::nullopt;
  }

  Problem take_server(const std::string& text) {
    const VirtualServerKey& service = request_.virtual_server.key;
    const auto parsed = parse_address(text, service.protocol, names_);
    if (!parsed) return refusal("illegal real server address[:port] specified");
    request_.real_server.key = {parsed->family, parsed->address, parsed->port.value_or(service.port)};
    return std::nullopt;
  }

  Problem take_mask(const std::string& text) {
    VirtualServer& server = request_.virtual_server;
    if (server.key.family == Family::kIPv6) {
      const long prefix = std::strtol(text.c_str(), nullptr, 10);  // its leading digits are enough
      if (prefix < 1 || prefix > 128) return refusal("illegal ipv6 netmask specified");
      server.persistence_mask = static_cast<std::uint32_t>(prefix);
      return std::nullopt;
    }
    const auto mask = parse_mask(text, names_);
    if (!mask) return refusal("illegal virtual server persistent mask specified");
    server.persistence_mask = *mask;
    return std::nullopt;
  }

  Problem take_tunnel_type(const std::string& text) {
    if (text == "ipip") {
      request_.real_server.tunnel.type = TunnelType::kIpip;
    } else if (text == "gue") {
      request_.real_server.tunnel.type = TunnelType::kGue;
    } else if (text == "gre") {
      request_.real_server.tunnel.type = TunnelType::kGre;
    } else {
      return refusal("illegal tunnel type specified");
    }
    return std::nullopt;
  }

  Problem take_group(const std::string& text) {
    request_.daemon.group = parse_group(text);
    if (request_.daemon.group) return std::nullopt;
    const bool ipv6 = text.find(':') != std::string::npos;
    return refusal(fmt::format("invalid {} mcast-group `{}'", ipv6 ? "IPv6" : "IPv4", text));
  }

  Problem take_leftovers() {
    const std::vector<std::string>& words = reader_.leftovers();
    std::size_t taken = 0;
    if (request_.command == Command::kSet) {
      if (words.size() < 3) return refusal("--set option requires 3 timeout values");
      Timeouts& timeouts = request_.timeouts;
      for (std::uint32_t* value : {&timeouts.tcp_s, &timeouts.tcp_fin_s, &timeouts.udp_s}) {
        if (auto problem = take_timeout(words[taken], 0, *value)) return problem;
        ++taken;
      }
    }
    if (words.size() > taken) return refusal(fmt::format("unexpected argument {}", words[taken]));
    return std::nullopt;
  }

  // Done last, because -s may follow -b.
  Problem take_scheduler_flags() {
    const std::string& scheduler = request_.virtual_server.scheduler;
    auto flags =
        parse_scheduler_flags(scheduler_flags_, scheduler.empty() ? kDefaultScheduler : std::string_view(scheduler));
    if (auto* message = std::get_if<std::string>(&flags)) return refusal(std::move(*message));
    request_.virtual_server.flags |= std::get<std::uint32_t>(flags);
    return std::nullopt;
  }

  const std::string& program_;
  WordReader reader_;
  Names& names_;
  Request request_;
  std::string scheduler_flags_;
};

}  // namespace

Refusal refusal(std::string message) {
  return {2, std::move(message), true};
}

Refusal usage_refusal(const std::string& program) {
  return {255, fmt::format("Try `{0} -h' or '{0} --help' for more information.", program), true};
}

Parsed parse_line(const std::string& program, const std::vector<std::string>& arguments, Names& names) {
  return LineParser(program, arguments, names).parse();
}

}  // namespace sluice::ipvs::text
