// What has to be covered is lib, by all tests together; not what was built of it, which the tests of the package run.
export default () => '.build/lib/**/*.js'
