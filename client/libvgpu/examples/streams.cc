// SPDX-License-Identifier: MIT
// Two streams, pinned memory and events, with C++ owning the objects.
//
//     c++ -std=c++17 streams.cc -lvgpu -o streams && ./streams
#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>

#include <vgpu/vgpu.h>

namespace {

void check(vgpu_status status)
{
	if (status)
		throw std::runtime_error(vgpu_session_error_text());
}

template <auto destroy> struct Destroyer {
	template <class T> void operator()(T *object) const { destroy(object); }
};
using Session = std::unique_ptr<vgpu_session, Destroyer<vgpu_session_close>>;
using Stream = std::unique_ptr<vgpu_stream, Destroyer<vgpu_stream_destroy>>;
using Event = std::unique_ptr<vgpu_event, Destroyer<vgpu_event_destroy>>;

Session open_session()
{
	vgpu_session *session;
	check(vgpu_session_open(nullptr, &session));
	return Session(session);
}

Stream make_stream(const Session &gpu)
{
	vgpu_stream *stream;
	check(vgpu_stream_create(gpu.get(), VGPU_STREAM_NON_BLOCKING, 0, &stream));
	return Stream(stream);
}

Event make_event(const Session &gpu)
{
	vgpu_event *event;
	check(vgpu_event_create(gpu.get(), VGPU_EVENT_DEFAULT, &event));
	return Event(event);
}

int run()
{
	const std::size_t bytes = 8 << 20;
	Session gpu = open_session();
	Stream up = make_stream(gpu), down = make_stream(gpu);
	Event start = make_event(gpu), uploaded = make_event(gpu), done = make_event(gpu);
	std::uint64_t device, copy;
	void *from, *to;
	float ms;

	check(vgpu_malloc(gpu.get(), bytes, &device));
	check(vgpu_malloc(gpu.get(), bytes, &copy));
	check(vgpu_host_malloc(gpu.get(), bytes, &from));
	check(vgpu_host_malloc(gpu.get(), bytes, &to));
	std::memset(from, 0x5a, bytes);

	check(vgpu_event_record(start.get(), up.get()));
	check(vgpu_copy_h2d_async(gpu.get(), device, from, bytes, up.get()));
	check(vgpu_event_record(uploaded.get(), up.get()));
	// the other stream goes on where this one has got to
	check(vgpu_stream_wait_event(gpu.get(), down.get(), uploaded.get()));
	check(vgpu_copy_d2d_async(gpu.get(), copy, device, bytes, down.get()));
	check(vgpu_copy_d2h_async(gpu.get(), to, copy, bytes, down.get()));
	check(vgpu_event_record(done.get(), down.get()));
	check(vgpu_event_synchronize(done.get()));
	check(vgpu_event_elapsed(start.get(), done.get(), &ms));

	bool same = !std::memcmp(from, to, bytes);
	std::printf("%zu bytes there and back in %.3f ms, %s\n", bytes, ms, same ? "unchanged" : "CHANGED");
	check(vgpu_host_free(gpu.get(), from));
	check(vgpu_host_free(gpu.get(), to));
	check(vgpu_free(gpu.get(), device));
	check(vgpu_free(gpu.get(), copy));
	return same ? 0 : 1;
}

} // namespace

int main()
{
	try {
		return run();
	} catch (const std::exception &e) {
		std::fprintf(stderr, "%s\n", e.what());
		return 1;
	}
}
