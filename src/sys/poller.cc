// SPDX-License-Identifier: Apache-2.0
// The waker is an eventfd(2) in the same epoll set: another thread writes to it, wait() returns and empties it.
#include "sys/poller.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <string>

namespace sluice::sys {
namespace {

constexpr std::uint64_t kWakerToken = std::numeric_limits<std::uint64_t>::max();
constexpr int kEventsMax = 256;

auto poller_error(const std::string& what) {
  const int error = errno;
  const Errc code =
      error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOSPC ? Errc::kExhausted : Errc::kInternal;
  return fail(code, "epoll: " + what + ": " + std::strerror(error), error);
}

epoll_event make_event(std::uint64_t token, std::uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = token;
  return event;
}

}  // namespace

Result<Poller> Poller::open() {
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  UniqueFd waker(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!epoll || !waker) return poller_error("open");
  Poller poller(std::move(epoll), std::move(waker));
  SLUICE_CHECK_OK(poller.add(poller.waker_, kWakerToken));
  return poller;
}

Result<> Poller::add(const UniqueFd& fd, std::uint64_t token) {
  epoll_event event = make_event(token, EPOLLIN);
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd.get(), &event) != 0) return poller_error("add");
  return {};
}

Result<> Poller::change(const UniqueFd& fd, std::uint64_t token, Interest interest) {
  epoll_event event = make_event(token, interest == Interest::kRead ? EPOLLIN : EPOLLIN | EPOLLOUT);
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd.get(), &event) != 0) return poller_error("change");
  return {};
}

Result<std::vector<Poller::Event>> Poller::wait(std::chrono::milliseconds timeout) {
  std::array<epoll_event, kEventsMax> ready{};
  const int count = ::epoll_wait(epoll_.get(), ready.data(), kEventsMax, static_cast<int>(timeout.count()));
  if (count < 0 && errno != EINTR) return poller_error("wait");
  std::vector<Event> events;
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = ready[static_cast<std::size_t>(i)];
    if (event.data.u64 == kWakerToken) {
      std::uint64_t value = 0;
      [[maybe_unused]] const ssize_t ignored = ::read(waker_.get(), &value, sizeof(value));
      continue;
    }
    const std::uint32_t happened = event.events;
    events.push_back({.token = event.data.u64,
                      .readable = (happened & ~static_cast<std::uint32_t>(EPOLLOUT)) != 0,
                      .writable = (happened & EPOLLOUT) != 0});
  }
  return events;
}

void Poller::wake() const {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t ignored = ::write(waker_.get(), &one, sizeof(one));
}

}  // namespace sluice::sys
