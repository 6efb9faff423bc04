// SPDX-License-Identifier: Apache-2.0
// Devices whose packets begin with the IP header, as WireGuard's do: a pair of tun devices, one with the director and one with the servers,
// between which a thread carries packets.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sys/ioctl.h>

#include <atomic>
#include <thread>

#include "ipvs/ebpf/test_traffic.h"
#include "sys/sysctl.h"

namespace sluice::ipvs::ebpf {
namespace {

UniqueFd make_tun(const char* name) {
  UniqueFd fd(::open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK));
  EXPECT_TRUE(fd) << std::strerror(errno);
  ifreq request{};
  std::strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  request.ifr_flags = IFF_TUN | IFF_NO_PI;
  EXPECT_EQ(::ioctl(fd.get(), TUNSETIFF, &request), 0) << std::strerror(errno);
  return fd;
}

// Carries what one sends to the other until it is destroyed.
class Carrier {
 public:
  Carrier(UniqueFd one, UniqueFd other) : ends_{std::move(one), std::move(other)} {
    thread_ = std::thread([this] {
      std::array<char, 65536> packet{};
      while (!stop_) {
        std::array<pollfd, 2> both{{{ends_[0].get(), POLLIN, 0}, {ends_[1].get(), POLLIN, 0}}};
        ::poll(both.data(), both.size(), 20);
        for (std::size_t i = 0; i < 2; ++i) {
          const ssize_t size = ::read(ends_[i].get(), packet.data(), packet.size());
          if (size > 0) (void)!::write(ends_[1 - i].get(), packet.data(), static_cast<std::size_t>(size));
        }
      }
    });
  }
  ~Carrier() {
    stop_ = true;
    thread_.join();
  }
  Carrier(const Carrier&) = delete;
  Carrier& operator=(const Carrier&) = delete;

 private:
  std::array<UniqueFd, 2> ends_;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

// 10.3.0.1 and fd03::1 are servers behind the tunnel.
class Headerless : public Traffic {
 protected:
  void SetUp() override {
    Traffic::SetUp();
    UniqueFd far;
    net_.as_server([&] { far = make_tun("tunnel0"); });
    carrier_ = std::make_unique<Carrier>(make_tun("tunnel0"), std::move(far));
    run({"ip", "-batch", "-"},
        "link set tunnel0 up\n"
        "route add 10.3.0.0/24 dev tunnel0\n"
        "route add fd03::/64 dev tunnel0\n");
    for (const char* command :
         {"link set tunnel0 up", "address add 10.3.0.1/24 dev tunnel0", "address add fd03::1/64 dev tunnel0 nodad",
          "route add 10.1.0.0/24 dev tunnel0", "-6 route add fd01::/64 dev tunnel0"}) {
      std::vector<std::string> words{"ip"};
      std::istringstream text(command);
      for (std::string word; text >> word;) words.push_back(word);
      net_.at_server(words);
    }
    for (const char* device : {"all", "tunnel0", "client", "server"})
      EXPECT_TRUE(sys::ensure_sysctl("net/ipv4/conf/" + std::string(device) + "/rp_filter", "1"));
  }
  void exchange(const UniqueFd& client, const UniqueFd& listening, const TestEnd& to) {
    ASSERT_EQ(connect(client, to), 0) << join_host_port(to.address, to.port);
    const Accepted accepted = accept(listening);
    write_text(client, "GET");
    EXPECT_EQ(read_text(accepted.fd, 3), "GET");
    write_text(accepted.fd, "200");
    EXPECT_EQ(read_text(client, 3), "200");
  }
  void lead(const char* address, Family family) {
    RuleElements elements;
    elements.addresses = {ip(address)};
    ASSERT_TRUE(engine_->service_rules()->replace({.family = family}, elements));
  }
  static UniqueFd own_socket(const IpAddress& like) {
    return bound_socket(SOCK_STREAM, {like.family() == Family::kIPv4 ? ip("0.0.0.0") : ip("::"), 0});
  }

  std::unique_ptr<Carrier> carrier_;
};

TEST_F(Headerless, RealServersBehindATunnel) {
  for (const auto& [address, real, family] :
       {std::tuple{"10.0.0.1", "10.3.0.1", Family::kIPv4}, std::tuple{"fd00::1", "fd03::1", Family::kIPv6}}) {
    SCOPED_TRACE(address);
    const VirtualServerKey key = VirtualServerKey::of(Protocol::kTcp, ip(address), 80);
    serve(key, "rr", {masqueraded(real, 8080)});
    lead(address, family);
    const UniqueFd listening = listener({ip(real), 8080});
    UniqueFd client;
    net_.as_client([&] { client = own_socket(key.address); });
    exchange(client, listening, {key.address, key.port});
    exchange(own_socket(key.address), listening, {key.address, key.port});
    EXPECT_EQ(found(key).statistics.totals.connections, 2U);
  }
}

// The route to the virtual server leads into the tunnel, and its real server is on a wire.
TEST_F(Headerless, ARouteIntoATunnel) {
  run({"ip", "-batch", "-"},
      "route add 203.0.113.0/24 dev tunnel0\n"
      "route add 2001:db8::/32 dev tunnel0\n");
  for (const auto& [address, real, local] :
       {std::tuple{"203.0.113.1", "10.2.0.1", "10.2.0.254"}, std::tuple{"2001:db8::80", "fd02::1", "fd02::fe"}}) {
    SCOPED_TRACE(address);
    const VirtualServerKey key = VirtualServerKey::of(Protocol::kTcp, ip(address), 80);
    const VirtualServerKey here = VirtualServerKey::of(Protocol::kTcp, ip(address), 81);
    serve(key, "rr", {masqueraded(real, 8080)});
    serve(here, "rr", {masqueraded(local, 6443)});
    const UniqueFd listening = listener({ip(real), 8080});
    exchange(own_socket(key.address), listening, {key.address, key.port});
    EXPECT_TRUE(sys::ensure_sysctl("net/ipv4/conf/lo/accept_local", "1"));
    const UniqueFd own_listening = bound_socket(SOCK_STREAM, {ip(local), 6443});
    ASSERT_EQ(::listen(own_listening.get(), 8), 0);
    exchange(own_socket(here.address), own_listening, {here.address, here.port});
    serve(VirtualServerKey::of(Protocol::kTcp, ip(address), 82), "rr", {});
    EXPECT_EQ(connect(own_socket(key.address), {key.address, 82}), -ECONNREFUSED);
  }
}

}  // namespace
}  // namespace sluice::ipvs::ebpf
